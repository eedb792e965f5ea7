"""Files for deployment, each reloaded in a new process and compared with the model before it is called done."""

from ms_plm.export.comparison import compare_models, comparison_table
from ms_plm.export.mindir import ExportReport, export_mindir

__all__ = ["ExportReport", "compare_models", "comparison_table", "export_mindir"]
