package seal

import (
	"fmt"

	"omca/internal/hint"
)

// The formats of a store. The keyring says which one a store has, under its own key:
// a store cannot be passed off as an older one, and a build that reads only the first
// refuses the second.
const (
	FormatKeyID     = 1 // revocations and lists lie under the key identifier of the CA
	FormatAuthority = 2 // under its identity; CAs are on record with their keys
	FormatTagging   = 3 // what is written has a tag, and what was there is getting one
	FormatAuthentic = 4 // every value has a tag, and some kinds are counted

	// Reads is the newest format that this build reads and writes.
	Reads = FormatAuthentic
)

// tooNew refuses a store that a newer build has written.
func tooNew(format int) error {
	return hint.With(fmt.Errorf("keyring: version %d, this program reads versions up to %d", format, Reads),
		"the store was brought over by a newer build of this program: run that one")
}
