-- For wrk: POST the body, given after `--` in hex since it may hold any byte, with the headers given after it, a line
-- each; end with one line of JSON that wrk.py reads.

function init(args)
   wrk.method = "POST"
   wrk.body = args[1]:gsub("..", function(digits) return string.char(tonumber(digits, 16)) end)
   for number = 2, #args do
      local name, value = args[number]:match("^(.-): (.*)$")
      wrk.headers[name] = value
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, ' ..
      '"errors": {"status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}}\n',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
      errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
