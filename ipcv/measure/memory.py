"temporary: until its notebook is split"
from ipcv.measure.flops import Allocations, peak_bytes
