"temporary: until its notebook is split"
from ipcv.language.prompt import quota, best, keys_below, queries_below, LanguageMethod, StagedMethod
