-- Sends one msgpack body repeatedly. URL -- FILE
done = require("report")

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.body = file:read("*a")
  file:close()
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/msgpack"
  wrk.headers["Accept"] = "application/msgpack"
  message = wrk.format()
end

function request()
  return message
end
