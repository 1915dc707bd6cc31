"temporary: until its notebook is split"
from ipcv.methods.shortening import cells_of, match, weigh, mean, mlerp, prune, JOINS, widening, proportional, constant, steep
