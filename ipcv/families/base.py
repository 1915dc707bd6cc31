"temporary: until its notebook is split"
from ipcv.families.qwen2_vl import TowerPass, positions, resize
