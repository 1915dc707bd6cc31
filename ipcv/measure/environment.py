"temporary: until its notebook is split"
from ipcv.measure.flops import versions, machine
