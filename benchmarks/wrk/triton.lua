-- Triton's POST /v2/models/step/infer, KServe's protocol in JSON. Sequence ids begin at 1; 0 means none.
local rotate = require("rotation")

rotate(function(session, action)
  return '{"parameters":{"sequence_id":' .. (session + 1)
    .. ',"sequence_start":false,"sequence_end":false},"inputs":[{"name":"action","shape":[1,1]'
    .. ',"datatype":"INT64","data":[' .. action .. ']}]}'
end)
