-- POST /step of dreamserve and of the servers that take the same body.
local rotate = require("rotation")

rotate(function(session, action, step)
  local number = step and ',"step":' .. step or ''
  return '{"session_id":"s' .. session .. '","action":' .. action .. number .. '}'
end)
