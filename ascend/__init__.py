"""What is special to Ascend, installed as `ms_plm_ascend`. `ms_plm` never imports it by name."""
