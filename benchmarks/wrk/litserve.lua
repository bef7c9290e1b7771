-- LitServe's POST /step: its sessions do not check the number, so none is sent.
local rotate = require("rotation")

rotate(function(session, action)
  return '{"session_id":"s' .. session .. '","action":' .. action .. '}'
end)
