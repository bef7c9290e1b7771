-- Steps in rotation over N sessions: request i is for session i mod N and has the step number
-- first + floor(i / N), so every session's steps are numbered in order.
--
-- A script requires this file and passes a function that writes a body. URL -- SESSIONS FIRST
-- With FIRST "none" steps have no numbers: of many connections, one that the server accepts late would
-- send a session's first step after its second one.

done = require("report")

local function rotate(body_of)
  local sessions, first, head
  local sent = -1  -- wrk calls request() once before the load and discards the result

  function init(args)
    sessions = tonumber(args[1]) or 1024
    first = tonumber(args[2] or 1)
    head = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port
      .. "\r\nContent-Type: application/json\r\nContent-Length: "
  end

  function request()
    local at = sent < 0 and 0 or sent
    sent = sent + 1
    local body = body_of(at % sessions, at % 3, first and first + math.floor(at / sessions))
    return head .. #body .. "\r\n\r\n" .. body
  end
end

return rotate
