-- Prints the results as the line that load.py reads.

local function done(summary, latency)
  local errors = summary.errors
  local sockets = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    'result: {"requests_per_s": %.1f, "p50_ms": %.4f, "p99_ms": %.4f,'
      .. ' "non_2xx": %d, "socket_errors": %d}\n',
    summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.status,
    sockets
  ))
end

return done
