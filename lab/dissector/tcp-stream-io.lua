-- Wireshark and tshark: frames of a 4-byte length and a payload over TCP, and the system calls
-- that `lab trace` records beside the segments.
--
-- To load it once:     wireshark -X lua_script:tcp-stream-io.lua trace.pcapng
--                      tshark    -X lua_script:tcp-stream-io.lua -r trace.pcapng
-- To load it always:   copy it to the folder that Help > About Wireshark > Folders calls
--                      "Personal Lua Plugins", ~/.local/lib/wireshark/plugins on Linux.
--
-- The frames are looked for on port 9000. Another port, or several ("9000,9100-9110"):
--   Preferences > Protocols > TSFRAME,  or  -o tsframe.ports:9100,  or  -d tcp.port==9100,tsframe
--
-- A segment stands where it left; its arrival is a record: tscall.kind == "arrival".
-- Segments and frames alone: tcp.    What failed: tscall.result contains "-1".

-- Frames --------------------------------------------------------------------------------------

local frame = Proto("tsframe", "Length-prefixed frame")
local HEADER = 4
-- The reference refuses longer ones: there it is an error, here no frame of this kind.
local LONGEST = 16 * 1024 * 1024

frame.fields.length = ProtoField.uint32("tsframe.length", "Length of the payload", base.DEC)
frame.fields.payload = ProtoField.bytes("tsframe.payload", "Payload")
frame.fields.text = ProtoField.string("tsframe.text", "Payload as text")
local too_long = ProtoExpert.new(
  "tsframe.too_long", "An announced length above 16 MiB: no frame, or a hostile one",
  expert.group.MALFORMED, expert.severity.ERROR)
frame.experts = { too_long }
frame.prefs.ports = Pref.range("Ports", "9000", "TCP ports that carry such frames", 65535)

local function frame_length(tvb, _, offset)
  local payload = tvb(offset, HEADER):uint()
  -- A length that cannot be: nobody knows where the next frame begins.
  if payload > LONGEST then return tvb:len() - offset end
  return HEADER + payload
end

local function one_frame(tvb, pinfo, tree)
  local announced = tvb(0, HEADER)
  local branch = tree:add(frame, tvb(), "Frame, " .. announced:uint() .. " bytes")
  branch:add(frame.fields.length, announced)
  if announced:uint() > LONGEST then
    branch:add_proto_expert_info(too_long)
  elseif tvb:len() > HEADER then
    local payload = tvb(HEADER)
    branch:add(frame.fields.payload, payload)
    branch:add(frame.fields.text, payload)
  end
  pinfo.cols.protocol = "TSFRAME"
  local before = tostring(pinfo.cols.info)
  local mine = "Frame of " .. announced:uint() .. " bytes"
  pinfo.cols.info = string.find(before, "^Frame of ") and before .. ", " .. mine or mine
  return tvb:len()
end

-- "GET ", "HTTP": as a length, any four printable characters are more than 500 MB.
local function is_text(tvb)
  return tvb:len() >= HEADER and string.find(tvb:raw(0, HEADER), "^[%g ]+$") ~= nil
end

function frame.dissector(tvb, pinfo, tree)
  if is_text(tvb) then return 0 end -- another protocol's; Wireshark asks further
  -- Frames may be split over segments, and several may share one: this calls back once for each.
  dissect_tcp_pdus(tvb, tree, HEADER, frame_length, one_frame, true)
  return tvb:len()
end

local tcp_ports = DissectorTable.get("tcp.port")
local registered = frame.prefs.ports
tcp_ports:add(registered, frame)

function frame.prefs_changed()
  if registered == frame.prefs.ports then return end
  tcp_ports:remove(registered, frame)
  registered = frame.prefs.ports
  tcp_ports:add(registered, frame)
end

-- System calls, states, processes: lines of "name: value" ---------------------------------------

local call = Proto("tscall", "System call")
local known = {
  { "host", "Host" }, { "kind", "Kind" }, { "text", "In words" }, { "call", "System call" },
  { "result", "Result" }, { "took", "Took" }, { "data", "Data" },
  { "process", "Process" }, { "thread", "Thread" }, { "descriptor", "Descriptor" },
  { "local", "Local address" }, { "peer", "Peer" },
  { "before", "State before" }, { "now", "State now" },
}
local fields = {}
for _, entry in ipairs(known) do
  fields[entry[1]] = ProtoField.string("tscall." .. entry[1], entry[2])
end
call.fields = fields

function call.dissector(tvb, pinfo, tree)
  local raw = tvb():raw()
  local branch = tree:add(call, tvb())
  local found = {}
  local at = 1
  while at <= #raw do
    local stop = string.find(raw, "\n", at, true) or #raw + 1
    local name, value = string.match(string.sub(raw, at, stop - 1), "^(%l+): (.*)$")
    if name and fields[name] then
      found[name] = value
      branch:add(fields[name], tvb(at - 1, stop - at), value)
    end
    at = stop + 1
  end
  local names = {
    call = "CALL", ["return"] = "RETURN", arrival = "ARRIVAL", state = "STATE", process = "PROCESS",
  }
  pinfo.cols.protocol = names[found.kind] or "TSCALL"
  pinfo.cols.info = found.text or ""
  local host = found.host or ""
  pinfo.cols.src = host
  if found.kind == "arrival" then
    pinfo.cols.src = host == "client" and "server" or "client"
    pinfo.cols.dst = host
  end
  branch:set_text((found.kind or "record") .. ": " .. (found.text or ""))
  return tvb:len()
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, call)
