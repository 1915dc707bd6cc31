"temporary: until its notebook is split"
from ipcv.language.prompt import layer_mask, View, told_apart, DecoderPass, LayerDrop, at_layer, cut, cut_for, deepen
