package outcome_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/internal/outcome"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "",
		"no space left on /var":      "no space left on /var",
		"exit status 1, 23 of 45 ok": "exit status 1, 23 of 45 ok",
		"updated 2.3 -> 2.4.1":       "updated 2.3 -> 2.4.1",

		// The endpoint's name, as a whole word.
		"web01":                                 "<endpoint>",
		"on web01: failed":                      "on <endpoint>: failed",
		"web01.example.com":                     "<endpoint>.example.com",
		"/backup/web01-full.tar.gz":             "/backup/<endpoint>-full.tar.gz",
		"failed on web01.":                      "failed on <endpoint>.",
		"‘web01’":                               "‘<endpoint>’",
		"db.web01":                              "db.<endpoint>",
		"web010 xweb01 web01x my_web01 web01_a": "web010 xweb01 web01x my_web01 web01_a",
		"WEB01":                                 "WEB01",

		// Times.
		"at 2026-07-01T12:34:56Z":                "at <time>",
		"2026-07-01T12:34:56.123456789+02:00 x":  "<time> x",
		"ts:2026-07-01t12:34:56z,":               "ts:<time>,",
		"2026-07-01 12:34:56,789 ERROR":          "<time> ERROR",
		"2026-07-01 12:34":                       "<time>",
		"2026-07-01 12:34:56 +0200 UTC":          "<time>",
		"2026-07-01 12:34:56 -9000":              "<time> -9000",
		"2026/07/01 12:34:56 main.go:7: x":       "<time> main.go:7: x",
		"01/07/2026 12:34:56":                    "<time>",
		"01.07.2026 12:34:56":                    "<time>",
		"[01/Jul/2026:12:34:56 +0000]":           "[<time>]",
		"Date: Wed, 01 Jul 2026 12:34:56 GMT":    "Date: <time>",
		"1 Jul 2026 12:34:56":                    "<time>",
		"Wed Jul  1 12:34:56 2026":               "<time>",
		"Wed Jul 1 12:34:56 UTC 2026":            "<time>",
		"Wed Jul  1 12:34:56 PM UTC 2026":        "<time>",
		"Jul  1 12:34:56 host":                   "<time> host",
		"Jul 11 12:34:56 2026x":                  "<time> 2026x",
		"20260701T123456Z":                       "<time>",
		"12:34:56.789 PM":                        "<time>",
		"1:23:45":                                "<time>",
		"12:34:56.5s":                            "<time>.<duration>",
		"2026-07-01":                             "2026-07-01",
		"12:34":                                  "12:34",
		"12:34:567":                              "12:34:567",
		"20260701 123456":                        "20260701 123456",
		"Julia 11 12:34:56, Jul 1":               "Julia 11 <time>, Jul 1",
		"12:34:56 UTCX":                          "<time> UTCX",
		"12:34:56.":                              "<time>.",
		"line 3:12:34:56":                        "line <time>:56",
		"took 2026-07-01T12:34:56Z/12:34:57 end": "took <time>/<time> end",

		// Durations.
		"took 1.234s":        "took <duration>",
		"(12ms)":             "(<duration>)",
		"0m1.234s 1h2m3s":    "<duration> <duration>",
		"1h30m":              "<duration>",
		"350µs 350μs 9ns":    "<duration> <duration> <duration>",
		"2.5 seconds, 12 ms": "<duration>, <duration>",
		"3 minutes ago":      "<duration> ago",
		"512m 5h 3 days":     "512m 5h 3 days",
		"openssl 1.1.1s":     "openssl 1.1.1s",
		"1.5sx 1m30 -Xss1s":  "1.5sx 1m30 -Xss1s",
		"1.s":                "1.s",

		// Process ids.
		"pid 812":                        "pid <pid>",
		"PID: 812, ppid=1":               "PID: <pid>, ppid=<pid>",
		`{"pid":812}`:                    `{"pid":<pid>}`,
		"sshd[812]: x":                   "sshd[<pid>]: x",
		"web01[812]: x":                  "<endpoint>[<pid>]: x",
		"Killed process 812 (java)":      "Killed process <pid> (java)",
		"process: 812 items 812":         "process: 812 items 812",
		"list[3] [4]: x":                 "list[3] [4]: x",
		"pid 812x pid 8.5 stupid 3 pid9": "pid 812x pid 8.5 stupid 3 pid9",

		// Addresses.
		"dial tcp 10.0.0.5:43210->10.0.0.1:3306: refused": "dial tcp <address>:<port>-><address>:3306: refused",
		"10.0.0.0/24, 10.0.0.1.":                          "<address>/24, <address>.",
		"256.0.0.1 1.2.3 1.2.3.4.5 v1.2.3.4":              "256.0.0.1 1.2.3 1.2.3.4.5 v1.2.3.4",
		"[fe80::1%eth0]:80 [::1]:43210":                   "[<address>%eth0]:80 [<address>]:<port>",
		"::1: refused":                                    "<address>: refused",
		"from 2001:DB8::8a2e:370:7334.":                   "from <address>.",
		"1:2:3:4:5:6:7:8":                                 "<address>",
		"::ffff:10.0.0.1":                                 "<address>",
		"std::string face::add a:: x::1 :::1":             "std::string face::add a:: x::1 :::1",
		"port 43210":                                      "port 43210",
		"00:1b:44:11:3a:b7 00-1B-44-11-3A-B7":             "<address> <address>",
		"at 0xc000012345":                                 "at <address>",
		"0x80070005 0xc00001234g":                         "0x80070005 0xc00001234g",

		// Identifiers.
		"worker/01ARZ3NDEKTSV4RRFFQ69G5FAV":            "worker/<id>",
		"123E4567-e89b-12d3-a456-426614174000.tmp":     "<id>.tmp",
		"81ARZ3NDEKTSV4RRFFQ69G5FAV":                   "81ARZ3NDEKTSV4RRFFQ69G5FAV",
		"01ARZ3NDEKTSV4RRFFQ69G5FAI":                   "01ARZ3NDEKTSV4RRFFQ69G5FAI",
		"01ARZ3NDEKTSV4RRFFQ69G5FAVX":                  "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
		"123e4567-e89b-12d3-a456-4266141740001":        "123e4567-e89b-12d3-a456-4266141740001",
		"d41d8cd98f00b204e9800998ecf8427e 1234567 abc": "d41d8cd98f00b204e9800998ecf8427e 1234567 abc",

		// Placeholders stay.
		"<time> <endpoint> <x> <": "<time> <endpoint> <x> <",
		"10.0.0.1<br>":            "<address><br>",
		"<b>5s</b>":               "<b><duration></b>",
	} {
		got := outcome.Mask("web01", text)
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if again := outcome.Mask("web01", got); again != got {
			t.Errorf("%q: got %q, and masked again %q", text, got, again)
		}
	}
}

// A name may look like anything that a name may be.
func TestMaskNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ endpoint, text, want string }{
		{"", "web01", "web01"},
		{"10.0.0.1", "10.0.0.1, 10.0.0.2", "<endpoint>, <address>"},
		{"5", "1.2.3.4.5", "1.2.3.4.<endpoint>"},
		{"5", "5 seconds", "<endpoint> seconds"},
		{"web.", "web.10.0.0.1", "web.10.0.0.1"},
		{"web.", "web.-10.0.0.1", "<endpoint>-<address>"},
		{"web-01", "web-01 web-010 a-web-01", "<endpoint> web-010 a-<endpoint>"},
		{"time", "time <time>", "<endpoint> <time>"},
		{"pid", "pid 812", "<endpoint> 812"},
		{"address", "10.0.0.1:43210 address:43210", "<address>:<port> <endpoint>:43210"},
	} {
		got := outcome.Mask(test.endpoint, test.text)
		if again := outcome.Mask(test.endpoint, got); got != test.want || again != got {
			t.Errorf("%q, %q: got %q, and masked again %q, want %q", test.endpoint, test.text, got, again, test.want)
		}
	}
}

// Masking again changes nothing, however the patterns touch each other.
func TestMaskTwice(t *testing.T) {
	t.Parallel()
	pieces := strings.Split("1|12|56|99|812|43210|2026|1751373296|.|:|::|-|/|[|]|]:| |,|+|%|T|Z|x|a|f|s|ms|µs|m|h| seconds|pid |PID=|process "+
		"|2026-07-01|12:34:56|12:34|Jan|Wed|Jul  1 |, |1 Jul 2026|UTC|+0200|PM|10.0.0.1|fe80::1|1:2:3:4:5:6:7|00:11:22:33:44:55|face"+
		"|0xc000012345|01ARZ3NDEKTSV4RRFFQ69G5FAV|123e4567-e89b-12d3-a456-426614174000|1.5s|1m30s|<|<time>|<address>|web01|web.|_|é", "|")
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var text strings.Builder
		for range 1 + random.IntN(9) {
			text.WriteString(pieces[random.IntN(len(pieces))])
		}
		endpoint := []string{"web01", "web.", "5", "12", "1.2", "s", "a", "56", "pid", "Jul", "f-1"}[random.IntN(11)]
		once := outcome.Mask(endpoint, text.String())
		if twice := outcome.Mask(endpoint, once); twice != once {
			t.Errorf("%q, %q: once %q, twice %q", endpoint, text.String(), once, twice)
		}
	}
}

// Masking again changes nothing, whatever the text.
func FuzzMask(f *testing.F) {
	for _, text := range []string{
		"on web01: 2026-07-01T12:34:56.5Z took 1m3.5s pid=812 sshd[812]: 10.0.0.5:43210->[fe80::1]:43210 0xc000012345",
		"Jul  1 12:34:56 2026s 00:11:22:33:44:55:66 1::12:34:56.5 1:2:3:4:5:6:7:8:12:34:56 std::5s",
		"1.2.3.4.5 <time>.5s 5s.5s 12 ms <pid>[1]: 1::Jan 02 12:34:56 01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"123e4567-e89b-12d3-a456-426614174000 Wed, 01 Jul 2026 12:34:56 GMT+0200 350µs \xff<addr",
	} {
		f.Add("web01", text)
		f.Add("5", text)
		f.Add("12", text)
		f.Add("1.2", text)
	}
	f.Fuzz(func(t *testing.T, endpoint, text string) {
		if strings.ContainsAny(endpoint, "<>") { // is no name
			t.Skip()
		}
		once := outcome.Mask(endpoint, text)
		if twice := outcome.Mask(endpoint, once); twice != once {
			t.Errorf("%q, %q: once %q, twice %q", endpoint, text, once, twice)
		}
	})
}
