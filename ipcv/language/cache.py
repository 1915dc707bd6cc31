"temporary: until its notebook is split"
from ipcv.language.prompt import Layout, ShortenedCache, shorten, check_cache
