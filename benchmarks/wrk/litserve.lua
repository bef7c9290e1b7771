-- LitServe's POST /step, which has no step numbers.
local rotate = require("rotation")

rotate(function(session, action)
  return '{"session_id":"s' .. session .. '","action":' .. action .. '}'
end)
