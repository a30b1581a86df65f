package usr_test

import (
	"errors"
	"strings"
	"testing"

	"omca/usr"
)

// TestCheckPassword: what guessing begins with is refused, whatever its case, and the error does not quote it. What is long and none of
// that is taken, without rules about kinds of characters.
func TestCheckPassword(t *testing.T) {
	for _, tt := range []struct {
		password string
		least    int
		want     string // in the error; "" for a password that is taken
	}{
		{"short", 0, "at least 8 characters are wanted, it has 5"},
		{"1234567", 3, "at least 8 characters are wanted, it has 7"}, // no keyword makes it less
		{"elevenchars", 12, "at least 12 characters are wanted, it has 11"},
		{"pässwör", 0, "it has 7"}, // not octets
		{"password", 0, "guessed first"},
		{"PassWord123", 0, "guessed first"},
		{"!QAZ2wsx", 0, "guessed first"},
		{"aaaaaaaaaaaa", 0, "one character repeated"},
		{"12345678", 0, "a run"},
		{"1234567890123", 0, "a run"},
		{"87654321", 0, "a run"},
		{"abcdefghij", 0, "a run"},
		{"robinson", 0, "the name"},
		{"Robinson1!", 0, "the name"},
		{"123robinson456", 0, "the name"},
		{"mycorp-clu", 0, "the name"},
		{"omca!!!!2026", 0, "the name"},
		{"correct horse", 0, ""},
		{"robinson-crusoe", 0, ""},
		{"zqkfmwtn", 0, ""},
		{"日本語の合言葉です", 0, ""},
		{"abcdefgx", 0, ""},
		{"a b c d e f", 0, ""},
		{strings.Repeat("ab", 32), 64, ""},
	} {
		err := usr.CheckPassword([]byte(tt.password), tt.least, "robinson", "mycorp-clu", "omca", "")
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%q: %v", tt.password, err)
		case tt.want != "" && (!errors.Is(err, usr.ErrInvalid) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%q: %v, want %q", tt.password, err, tt.want)
		case err != nil && tt.password != "password" && strings.Contains(err.Error(), tt.password):
			t.Errorf("%v quotes %q", err, tt.password)
		}
	}
}
