"temporary: until its notebook is split"
from ipcv.measure.flops import Watch, watched, profile, nothing, stage_table, STAGES, ceilings, FREE
