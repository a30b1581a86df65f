package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/hint"
	"omca/internal/remote"
)

func add(t *testing.T, d remote.Dir, name string, c remote.Context) {
	t.Helper()
	if err := d.Update(t.Context(), func(b *remote.Book) error { return b.Add(name, c, false) }); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsSavedIsLoaded(t *testing.T) {
	d := remote.Dir(filepath.Join(t.TempDir(), "deep", "omca"))
	b, err := d.Load()
	if err != nil || len(b.Names()) != 0 {
		t.Fatalf("without a file: %v, %v, want no contexts", b, err)
	}
	want := remote.Context{
		Server: "https://node1:1215", CAFingerprint: strings.Repeat("ab:", 31) + "ab", User: "alice", PasswordFile: "/run/secrets/p",
	}
	add(t, d, "prod", want)
	b, err = d.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]remote.Context{"prod": want}, b.Contexts); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, name := range []string{"", "contexts.yaml"} {
		info, err := os.Stat(filepath.Join(string(d), name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm() & 0o077; mode != 0 {
			t.Errorf("%q: others may %03o", name, mode)
		}
	}
}

func TestAnErrorChangesNothing(t *testing.T) {
	d := remote.Dir(t.TempDir())
	add(t, d, "prod", remote.Context{Server: "https://a:1"})
	failed := errors.New("failed")
	err := d.Update(t.Context(), func(b *remote.Book) error {
		return errors.Join(b.Add("other", remote.Context{Server: "https://b:1"}, false), failed)
	})
	if !errors.Is(err, failed) {
		t.Errorf("error %v, want %v", err, failed)
	}
	b, err := d.Load()
	if err != nil || !cmp.Equal(b.Names(), []string{"prod"}) {
		t.Errorf("contexts %v (%v), want prod alone", b.Names(), err)
	}
	left, err := os.ReadDir(string(d))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestALinkStaysALink(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(elsewhere, []byte("contexts: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "contexts.yaml")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	add(t, remote.Dir(dir), "prod", remote.Context{Server: "https://a:1"})
	if target, err := os.Readlink(link); err != nil || target != elsewhere {
		t.Errorf("the link leads to %q (%v), want %q", target, err, elsewhere)
	}
	if text, err := os.ReadFile(elsewhere); err != nil || !strings.Contains(string(text), "prod") {
		t.Errorf("behind the link: %s (%v)", text, err)
	}
}

func TestTwoWhoAddLoseNothing(t *testing.T) {
	d := remote.Dir(t.TempDir())
	const writers = 8
	var done sync.WaitGroup
	for i := range writers {
		done.Go(func() {
			name := fmt.Sprintf("c%d", i)
			if err := d.Update(context.Background(), func(b *remote.Book) error {
				return b.Add(name, remote.Context{Server: "https://" + name + ":1"}, false)
			}); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	b, err := d.Load()
	if err != nil || len(b.Names()) != writers {
		t.Errorf("%d contexts (%v), want %d", len(b.Names()), err, writers)
	}
}

func TestBadContexts(t *testing.T) {
	for want, c := range map[string]remote.Context{
		"not of the form":                 {Server: "node1"},
		"more than a scheme":              {Server: "https://u:p@node1"},
		"cert and key go together":        {Server: "https://a", CertFile: "/c"},
		"password_file needs user":        {Server: "https://a", PasswordFile: "/c"},
		"token_file and user":             {Server: "https://a", User: "a", TokenFile: "/t"},
		"both ca and ca_fingerprint":      {Server: "https://a", CAFile: "/c", CAFingerprint: strings.Repeat("ab", 32)},
		"64 hexadecimal digits":           {Server: "https://a", CAFingerprint: "abcd"},
		`path "c.pem" is not absolute`:    {Server: "https://a", CAFile: "c.pem"},
		`path "../t.json" is not absolut`: {Server: "https://a", TokenFile: "../t.json"},
	} {
		if err := new(remote.Book).Add("x", c, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestBadFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		mode fs.FileMode
		want string
	}{
		"others may write":      {"contexts: {}", 0o622, "mode 0622 lets others in"},
		"a field nobody knows":  {"contexts: {a: {server: https://a, pass: x}}", 0o600, "line 1: field pass not found"},
		"a name that is a path": {"contexts: {../a: {server: https://a}}", 0o600, "a letter or digit first"},
		"a relative path":       {"contexts: {a: {server: https://a, ca: ca.pem}}", 0o600, "is not absolute"},
		"a second document":     {"contexts: {}\n---\ncontexts: {}", 0o600, "goes on behind"},
		"not YAML":              {"contexts: [", 0o600, "yaml: "},
		"too long":              {"#" + strings.Repeat("x", 1<<20), 0o600, "has more than 1048576 bytes"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "contexts.yaml")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, tt.mode); err != nil {
			t.Fatal(err)
		}
		_, err := remote.Dir(dir).Load()
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q and the file", name, err, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	b := &remote.Book{}
	if err := b.Add("production", remote.Context{Server: "https://a"}, false); err != nil {
		t.Fatal(err)
	}
	_, err := b.Lookup("prodution")
	if !errors.Is(err, remote.ErrNoContext) || hint.Of(err) != "did you mean production?" {
		t.Errorf("error %v with hint %q", err, hint.Of(err))
	}
	if _, err := b.Lookup("zzz"); !strings.Contains(hint.Of(err), "context ls") {
		t.Errorf("hint %q", hint.Of(err))
	}
}
