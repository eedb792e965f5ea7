"""Files for deployment, each reloaded in a new process and compared with the model before it is called done."""

from ms_plm.export.mindir import ExportReport, export_mindir

__all__ = ["ExportReport", "export_mindir"]
