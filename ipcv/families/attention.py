"temporary: until its notebook is split"
from ipcv.families.qwen2_vl import rotate, project, is_flash, MANY, packed_kernel, cu_seqlens_cpu, interface, flash
