-- Cog's server refuses a call for some milliseconds after it has sent an answer. The pause keeps the next call of the
-- queue from it for that long.
core.register_action("pause", { "http-res" }, function() core.msleep(50) end)
