"temporary: until its notebook is split"
from ipcv.language.prompt import surplus_positions, pack, take, put_back, cut_mask, cut_positions
