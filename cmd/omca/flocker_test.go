package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A log file that is full makes room: five files stay behind it, the latest first.
func TestLogFileMovesOn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	l, err := openLogFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if l.most != 100<<20 || logFiles != 5 {
		t.Errorf("it moves on at %d bytes, with %d files behind it", l.most, logFiles)
	}
	l.most = 5
	lines := []string{"one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n", "eight\n", "nine\n", "ten\n", "eleven\n", "twelve\n", "thirteen\n"}
	for _, line := range lines {
		if _, err := l.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	var names, all []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if want := []string{"log", "log.1", "log.2", "log.3", "log.4", "log.5"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	for _, n := range []string{"log.5", "log.4", "log.3", "log.2", "log.1", "log"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(name), n))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 5+len("thirteen\n") {
			t.Errorf("%s has %d bytes", n, len(text))
		}
		all = append(all, string(text))
	}
	if kept := strings.Join(all, ""); !strings.HasSuffix(strings.Join(lines, ""), kept) || !strings.HasSuffix(kept, "thirteen\n") {
		t.Errorf("kept %q", kept)
	}
	// What is there is gone on with.
	if l, err = openLogFile(name); err != nil || l.size == 0 {
		t.Errorf("opened again: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestJournal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	if _, err := openJournal(socket); err == nil || !strings.Contains(err.Error(), "the journal of systemd does not answer") {
		t.Errorf("no journal: %v", err)
	}
	l, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	j, err := openJournal(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := j.Write([]byte("a line\nPRIORITY=0\n")); err != nil {
		t.Fatal(err)
	}
	entry := make([]byte, 200)
	n, _, err := l.ReadFrom(entry)
	if want := "SYSLOG_IDENTIFIER=flocker-ca\nPRIORITY=6\nMESSAGE=a line PRIORITY=0\n"; err != nil || string(entry[:n]) != want {
		t.Errorf("%q, %v, want %q", entry[:n], err, want)
	}
}

// -v and --verbose count up, wherever they stand.
func TestFlockerVerbosity(t *testing.T) {
	for line, want := range map[string]int{
		"create-node-certificate": 0, "-v create-node-certificate": 1, "-vv create-node-certificate": 2, "--verbose create-node-certificate -v": 2,
		"create-node-certificate -v --verb --verbose": 3, "-v -- create-node-certificate": 1,
	} {
		l, err := parseFlocker(strings.Fields(line))
		if err != nil || len(l.options["verbose"]) != want {
			t.Errorf("%s: %d, %v, want %d", line, len(l.options["verbose"]), err, want)
		}
	}
}

func TestParseFlocker(t *testing.T) {
	for line, want := range map[string]string{
		"create-api-certificate alice -o out -i in":                "create-api-certificate alice in=in out=out",
		"create-api-certificate --outputpath=out --input in alice": "create-api-certificate alice in=in out=out",
		"create-api-certificate -oout -i in -- -alice":             "create-api-certificate -alice in=in out=out",
		"create-api-certificate -o a -o b alice":                   "create-api-certificate alice in= out=b",
		"initialize -":                                             "initialize - in= out=",
		"create-api-certificate a b":                               "Wrong number of arguments.",
		"create-api-certificate -vo":                               "option -o requires argument",
		"create-api-certificate --outputpath":                      "option --outputpath requires argument",
		"create-api-certificate --o=x --help=1 alice":              "option --help must not have an argument",
		"create-api-certificate --=x alice":                        "option -- not recognized",
		"-i in create-api-certificate alice":                       "option -i not recognized",
		"create-api-certificate --count 2 alice":                   "option --count not recognized",
		"create-node-certificate --count two":                      "option --count wants a number from 1 to 1000",
		"revoke alice":                                             "Unknown command: revoke",
	} {
		l, err := parseFlocker(strings.Fields(line))
		var o offlineOrder
		if err == nil {
			o, err = l.order()
		}
		got := strings.TrimSpace(o.verb+" "+o.name) + " in=" + o.in + " out=" + o.out
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
