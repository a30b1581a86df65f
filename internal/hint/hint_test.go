package hint_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"omca/internal/hint"
)

func TestWith(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "ca.pem", Err: fs.ErrNotExist}
	err := hint.With(cause, "create it with %q", "omca system/sec/ca certificate create")

	if got := err.Error(); got != cause.Error() {
		t.Errorf("text is %q, want that of the cause, %q", got, cause.Error())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("errors.Is does not see the sentinel")
	}
	var path *fs.PathError
	if !errors.As(err, &path) || path.Path != "ca.pem" {
		t.Error("errors.As does not see the typed error")
	}
	if hint.With(nil, "never seen") != nil {
		t.Error("nil did not stay nil")
	}
}

func TestOf(t *testing.T) {
	plain := errors.New("no store")
	inner := hint.With(plain, "inner")
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, ""},
		{"no hint", plain, ""},
		{"direct", inner, "inner"},
		{"wrapped", fmt.Errorf("opening: %w", inner), "inner"},
		{"outermost wins", hint.With(fmt.Errorf("opening: %w", inner), "outer"), "outer"},
		{"joined", errors.Join(plain, inner), "inner"},
		{"a percent sign in an argument", hint.With(plain, "try %s", "100%d"), "try 100%d"},
	} {
		if got := hint.Of(tt.err); got != tt.want {
			t.Errorf("%s: Of = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	verbs := []string{"create", "renew", "revoke", "show", "ls", "cn", "signing-request"}
	for _, tt := range []struct {
		got  string
		want string // "" for none
	}{
		{"creat", "create"},                   // deletion
		{"creatte", "create"},                 // insertion
		{"crexte", "create"},                  // replacement
		{"cerate", "create"},                  // swap, one edit and not two
		{"ren", ""},                           // two edits in three letters
		{"Create", "create"},                  // case does not count
		{"signin-requets", "signing-request"}, // a long word may have more edits
		{"sl", "ls"},                          // a short word may have one
		{"c", "cn"},                           //
		{"xy", ""},                            // but not two
		{"x", ""},                             // nor be replaced whole
		{"delete", ""},                        //
		{"", ""},                              //
		{strings.Repeat("a", 1<<20), ""},      // nobody waits for this one
		{"shøw", "show"},                      // letters, not bytes
	} {
		got, ok := hint.Nearest(tt.got, verbs)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("Nearest(%.40q) = %q, %v, want %q", tt.got, got, ok, tt.want)
		}
	}
	if got, _ := hint.Nearest("aab", []string{"aaa", "aac"}); got != "aaa" {
		t.Errorf("of two equally near words the second won: %q", got)
	}
	if _, ok := hint.Nearest("create", nil); ok {
		t.Error("found a word in an empty list")
	}
	if _, ok := hint.Nearest("create", []string{"", strings.Repeat("create", 100)}); ok {
		t.Error("found an empty or an endless word")
	}
}

func ExampleNearest() {
	if word, ok := hint.Nearest("certificat", []string{"certificate", "config"}); ok {
		fmt.Printf("did you mean %q?\n", word)
	}
	// Output: did you mean "certificate"?
}
