package usr

import (
	"errors"
	"fmt"
)

// The errors of this package, to be told apart with [errors.Is].
var (
	// ErrInvalid is a name or a grant that cannot be read.
	ErrInvalid = errors.New("invalid")
	// ErrDenied is a caller who is known and may not.
	ErrDenied = errors.New("permission denied")
	// ErrUnauthenticated is a caller who has not proved a name.
	ErrUnauthenticated = errors.New("not authenticated")
)

// system is the namespace of the users, of the CA and of the listener's certificate.
const system = "system"

// maxName is the length in bytes of the longest name.
const maxName = 63

// ValidName returns nil when name can name a user or a namespace: lower case, at most 63 characters, the first one a letter or a
// digit, then letters, digits, '.' and '-'. Anything else is [ErrInvalid].
func ValidName(name string) error {
	if name == "" {
		return fmt.Errorf("%w name: it is empty", ErrInvalid)
	}
	if len(name) > maxName {
		return fmt.Errorf("%w name %.16q…: it has %d characters, at most %d are allowed", ErrInvalid, name, len(name), maxName)
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("%w name %q: want lower-case letters, digits, '.' and '-', the first one a letter or a digit", ErrInvalid, name)
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}
