"temporary: until its notebook is split"
from ipcv.families.qwen2_vl import FAMILIES, tower_for, stage_modules
