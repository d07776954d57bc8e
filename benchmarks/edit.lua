-- Edits by wrk, which asks again as soon as it has an answer:
--   NANOEDGE_KEY=... wrk -t1 -c2 -d30s --latency -s benchmarks/edit.lua http://127.0.0.1:8080 -- photo.jpg "warmer"
-- Refused edits (503, 429) are fast: look at their number before believing the latency. For arrivals at a fixed rate,
-- whatever the server answers, there is benchmarks/overload.py.

local boundary = "nanoedge-edit"

function init(arguments)
  local path, instruction = arguments[1], arguments[2] or "warmer"
  local file = io.open(path or "", "rb")
  if not file then
    io.stderr:write("no photo: got '" .. tostring(path) .. "'. Name one after --: -- photo.jpg \"warmer\"\n")
    os.exit(2)
  end
  local photo = file:read("*a")
  file:close()
  local head = "--" .. boundary .. "\r\nContent-Disposition: form-data; name="
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "multipart/form-data; boundary=" .. boundary
  local key = os.getenv("NANOEDGE_KEY")
  if key then wrk.headers["Authorization"] = "Bearer " .. key end
  wrk.body = head .. '"prompt"\r\n\r\n' .. instruction .. "\r\n"
    .. head .. '"image"; filename="photo.jpg"\r\n\r\n' .. photo .. "\r\n--" .. boundary .. "--\r\n"
  edit = wrk.format(nil, "/v1/images/edits")
end

function request()
  return edit
end

function done(summary)
  local whole = summary.requests - summary.errors.status
  io.write(string.format("%d edits done, %.2f a second; %d refused or failed\n",
    whole, 1e6 * whole / summary.duration, summary.errors.status + summary.errors.timeout))
end
