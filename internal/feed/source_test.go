package feed

import (
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is no source always fails, and is shown without its secret.
func TestSourceNames(t *testing.T) {
	for _, c := range []struct{ name, shown, want string }{
		{"ldap://crl.mycorp/cn=ca", "ldap://crl.mycorp/cn=ca", "not an http or https URL"},
		{"file:///etc/ca.crl", "file:///etc/ca.crl", "not an http or https URL"},
		{"http:///ca.crl", "http:///ca.crl", "not an http or https URL"},
		{"https://me:hush@crl.mycorp/", "https://crl.mycorp/", "a URL with a password"},
		{"ftp://me:hush@crl.mycorp/", "ftp://crl.mycorp/", "a URL with a password"},
		{"https://me:hush@crl.mycorp:port/", "a malformed URL", "a malformed URL"},
		{"system/usr/alice", "system/usr/alice", "none of a URL"},
		{"ca.crl", "ca.crl", "none of a URL"},
		{"a/sec/b/c", "a/sec/b/c", "none of a URL"},
		{"", "", "none of a URL"},
	} {
		b := newBench(t, Limits{})
		b.on(func(*http.Request) (*http.Response, error) {
			t.Errorf("%s: a request was sent", c.name)
			return reply(200, nil), nil
		})
		b.load(c.name)
		b.is(Error, c.want)
		if got := b.Status()[0].Source; got != c.shown {
			t.Errorf("%q is shown as %q, want %q", c.name, got, c.shown)
		}
		if got := strings.Join(b.log.taken(), "\n"); strings.Contains(got, "hush") {
			t.Errorf("a secret is in the log: %s", got)
		}
	}
}

// replace puts a file where another was, as a careful operator does.
func replace(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// poll makes one look at the only file, as Run does. It is not in a bubble, which does not see files.
func (b *bench) poll() {
	b.t.Helper()
	// What was read is in Status; the error of the attempt is there, too.
	_ = b.attempt(b.t.Context(), b.all()[0], ifChanged, time.Minute)
}

func TestFile(t *testing.T) {
	corp := newCA(t, "Corp")
	now, name := time.Now(), fileName(t)
	b := newBench(t, Limits{}, corp)
	b.load(name)
	b.is(Error, "no such file")

	first := corp.sign(t, list(now, 1))
	replace(t, name, first)
	b.poll()
	b.holds("Corp 1")
	b.is(Fresh, "")

	// Another file with the same size and time.
	second := corp.sign(t, list(now, 2))
	for len(second) != len(first) {
		second = corp.sign(t, list(now, 2)) // the signature has an octet more or less
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, name, second)
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	b.poll()
	b.holds("Corp 2")

	// Half of a file, in place: the last good list stays, and so does the error for as long as the file does.
	third := corp.sign(t, list(now, 3))
	if err := os.WriteFile(name, third[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	b.poll()
	b.poll()
	b.holds("Corp 2")
	b.is(Fresh, "broken DER")
	if err := os.WriteFile(name, third, 0o600); err != nil {
		t.Fatal(err)
	}
	b.poll()
	b.holds("Corp 3")
	b.is(Fresh, "")

	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	b.poll()
	b.holds("Corp 3")
	b.is(Fresh, "no such file")
	replace(t, name, third)
	b.poll()
	b.is(Fresh, "")
}

// A file that has not changed is not read, and a look at it does not count as a fetch.
func TestFileUntouched(t *testing.T) {
	corp := newCA(t, "Corp")
	name := fileName(t)
	replace(t, name, corp.sign(t, list(time.Now(), 1)))
	b := newBench(t, Limits{}, corp)
	b.load(name)
	before := b.Status()[0]
	p, err := readFile(name, b.all()[0].seen, 1<<20)
	if err != nil || p.outcome != untouched || p.body != nil {
		t.Errorf("%+v, %v", p, err)
	}
	b.poll()
	if after := b.Status()[0]; !reflect.DeepEqual(after, before) {
		t.Errorf("%+v, before %+v", after, before)
	}
}

// When a file is looked at, and when it is read whatever it looks like.
func TestFileSchedule(t *testing.T) {
	limits, err := Limits{}.checked()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct {
		name        string
		polled, due time.Duration
		again       bool
		want        time.Duration
		mode        mode
	}{
		{"polled", -time.Second, hour, false, time.Second, ifChanged},
		{"poll is due", -3 * time.Second, hour, false, -time.Second, ifChanged},
		{"due", -time.Second, 0, false, 0, anew},
		{"due before the poll", 0, time.Second, false, time.Second, anew},
		{"polled in the future", hour, hour, false, hour, anew},
		{"due too far", 0, 2 * hour, false, 0, anew},
		{"told so", -time.Second, hour, true, 0, ifChanged},
	} {
		s := &source{kind: file, polled: now.Add(c.polled), due: now.Add(c.due), again: c.again}
		if next, m := s.next(now, limits); next.Sub(now) != c.want || m != c.mode {
			t.Errorf("%s: in %s, mode %d, want in %s, mode %d", c.name, next.Sub(now), m, c.want, c.mode)
		}
	}
}

// Run sees a file that was replaced.
func TestFileRun(t *testing.T) {
	corp := newCA(t, "Corp")
	name := fileName(t)
	replace(t, name, corp.sign(t, list(time.Now(), 1)))
	b := newBench(t, Limits{Poll: time.Millisecond}, corp)
	b.load(name)
	b.run()
	replace(t, name, corp.sign(t, list(time.Now(), 2)))
	for deadline := time.After(10 * time.Second); b.Status()[0].Number != "2"; {
		select {
		case <-deadline:
			t.Fatal("the new file was not seen")
		case <-time.After(time.Millisecond):
		}
	}
}

// What would never end is not opened.
func TestFileKinds(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, dir, "/dev/zero"} {
		b := newBench(t, Limits{Start: 2 * time.Second})
		start := time.Now()
		b.load(name)
		b.is(Error, "not a regular file")
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, Limits{Bytes: 1000})
	b.load(large)
	b.is(Error, "more than 1000 bytes")
}

func TestNew(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty Config is accepted")
	}
	good := newBench(t, Limits{}).cfg
	for _, limits := range []Limits{{Bytes: -1}, {Lists: -1}, {Whole: -1}, {Often: 2 * hour}, {Retry: hour}} {
		good.Limits = limits
		if _, err := New(good); err == nil {
			t.Errorf("%+v is accepted", limits)
		}
	}
	for _, missing := range []func(*Config){
		func(c *Config) { c.Memory = nil }, func(c *Config) { c.Object = nil }, func(c *Config) { c.Signers = nil },
		func(c *Config) { c.Changed = nil }, func(c *Config) { c.Now = nil }, func(c *Config) { c.Log = nil },
	} {
		c := newBench(t, Limits{}).cfg
		missing(&c)
		if _, err := New(c); err == nil {
			t.Error("a Config without a part is accepted")
		}
	}
}
