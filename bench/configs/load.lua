-- wrk's script: what it asks for, and one line of JSON at the end.
--
--   wrk ... URL               the same GET each time
--   wrk ... URL -- varied     paths, cookies and fields that differ from request to request

local requests = {}

local function varied()
    math.randomseed(7)
    for n = 1, 2000 do
        local path = string.format("/service/%d/items/%d?page=%d&q=%x", n % 10, math.random(100000), n % 50,
            math.random(2 ^ 30))
        local headers = {
            ["Host"] = string.format("shop-%d.example.com", n % 20),
            ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128." .. n % 8,
            ["Accept"] = "application/json, text/plain, */*",
            ["Accept-Encoding"] = "gzip, deflate, br",
            ["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3",
            ["Cookie"] = string.format("session=%08x%08x; theme=dark; visit=%d", math.random(2 ^ 30),
                math.random(2 ^ 30), n),
            ["X-Tenant"] = "t" .. n % 100,
            ["X-Internal"] = "drop-me",
            ["X-Correlation"] = string.format("%08x-%04x", math.random(2 ^ 30), n),
        }
        if n % 5 == 0 then headers["X-Canary"] = "yes" end
        requests[n] = wrk.format("GET", path, headers)
    end
end

function init(args)
    if args[1] ~= "varied" then return end
    varied()
    local n = 0
    request = function()
        n = n % #requests + 1
        return requests[n]
    end
end

function done(summary)
    local e = summary.errors
    io.write(string.format('{"requests": %d, "bytes": %d, "seconds": %f, "errors": %d}\n', summary.requests,
        summary.bytes, summary.duration / 1e6, e.connect + e.read + e.write + e.status))
end
