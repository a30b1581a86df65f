package usr

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Sizes of what this version makes, in bytes: RFC 9106, section 4.
const (
	saltSize = 16
	sumSize  = 32
)

// Bounds of what is believed of a hash that came from elsewhere. Whoever could store one that takes a gigabyte or a minute would have a
// lever against the daemon: a login with any password would pull it.
const (
	mostHash       = 512       // bytes of text
	mostMemory     = 64 << 10  // KiB
	mostPasses     = 16        //
	mostWork       = 256 << 10 // KiB in all passes together: 0.3 s or so
	mostThreads    = 8         //
	leastSum       = 16        // bytes: RFC 9106, section 3.1, has 4
	mostSum        = 64        // bytes
	leastSalt      = 8         // bytes: RFC 9106, section 3.1
	mostSalt       = 64        // bytes
	mostBcrypt     = 72        // bytes of a password
	mostBcryptCost = 13        // 0.5 s or so
)

type hashScheme string

const (
	schemeArgon2id hashScheme = "argon2id"
	schemeBcrypt   hashScheme = "bcrypt"
)

// PasswordHash is what is kept of a password. The zero value is that of nobody. It does not change once made, and prints as nothing.
type PasswordHash struct {
	scheme hashScheme
	cost   PasswordCost // of argon2id
	salt   []byte       // of argon2id
	sum    []byte       // of argon2id; of bcrypt all of the text
}

// IsZero reports whether h is the hash of nobody.
func (h PasswordHash) IsZero() bool { return h.scheme == "" }

// Scheme is how the hash was made: "argon2id", "bcrypt", or "" for the zero value.
func (h PasswordHash) Scheme() string { return string(h.scheme) }

// String hides the hash: whoever has it can try passwords at leisure.
func (h PasswordHash) String() string { return "[hash of a password]" }

// GoString hides the hash.
func (h PasswordHash) GoString() string { return h.String() }

// LogValue hides the hash.
func (h PasswordHash) LogValue() slog.Value { return slog.StringValue(h.String()) }

// Encode returns the text that [ParsePasswordHash] reads: for argon2id in the PHC string format,
// $argon2id$v=19$m=19456,t=2,p=1$SALT$SUM in base64 without padding.
func (h PasswordHash) Encode() []byte {
	switch h.scheme {
	case schemeArgon2id:
		b64 := base64.RawStdEncoding
		return fmt.Appendf(nil, "$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", h.cost.Memory, h.cost.Passes, h.cost.Threads,
			b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
	case schemeBcrypt:
		return append([]byte{}, h.sum...)
	}
	return nil
}

// ParsePasswordHash reads an argon2id hash in the PHC string format, version 19, or a bcrypt hash ($2a$, $2b$, $2y$) of a cost up to 13.
// What would take more memory or time to check than a login may is refused. Errors are [ErrInvalid] and do not quote the text.
func ParsePasswordHash(text []byte) (PasswordHash, error) {
	switch s := string(text); {
	case len(s) > mostHash:
		return PasswordHash{}, fmt.Errorf("%w hash of a password: %d bytes, at most %d are allowed", ErrInvalid, len(s), mostHash)
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon2id(s)
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(text)
	}
	return PasswordHash{}, fmt.Errorf("%w hash of a password: want one that begins with $argon2id$, $2a$, $2b$ or $2y$", ErrInvalid)
}

func parseBcrypt(text []byte) (PasswordHash, error) {
	const size = 60
	cost, err := bcrypt.Cost(text)
	if err != nil || len(text) != size || text[6] != '$' || strings.Trim(string(text[7:]), bcryptAlphabet) != "" {
		return PasswordHash{}, fmt.Errorf("%w hash of a password: it is not one of bcrypt", ErrInvalid)
	}
	if cost > mostBcryptCost {
		return PasswordHash{}, fmt.Errorf("%w hash of a password: bcrypt of cost %d, at most %d is allowed", ErrInvalid, cost, mostBcryptCost)
	}
	return PasswordHash{scheme: schemeBcrypt, sum: append([]byte{}, text...)}, nil
}

const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// parseArgon2id reads $argon2id$v=19$m=M,t=T,p=P$SALT$SUM.
func parseArgon2id(s string) (PasswordHash, error) {
	bad := func(err error) (PasswordHash, error) {
		return PasswordHash{}, fmt.Errorf("%w hash of a password: argon2id: %w", ErrInvalid, err)
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return bad(errors.New("want $argon2id$v=19$m=M,t=T,p=P$SALT$SUM"))
	}
	if parts[2] != "v=19" { // RFC 9106: version 0x13; the earlier one is weaker
		return bad(errors.New("not version 19"))
	}
	cost, err := parseCost(parts[3])
	if err == nil {
		err = cost.check()
	}
	if err != nil {
		return bad(err)
	}
	h := PasswordHash{scheme: schemeArgon2id, cost: cost}
	b64 := base64.RawStdEncoding.Strict()
	if h.salt, err = b64.DecodeString(parts[4]); err != nil || len(h.salt) < leastSalt || len(h.salt) > mostSalt {
		return bad(fmt.Errorf("the salt is not base64 of %d to %d bytes", leastSalt, mostSalt))
	}
	if h.sum, err = b64.DecodeString(parts[5]); err != nil || len(h.sum) < leastSum || len(h.sum) > mostSum {
		return bad(fmt.Errorf("the sum is not base64 of %d to %d bytes", leastSum, mostSum))
	}
	return h, nil
}

// parseCost reads m=M,t=T,p=P.
func parseCost(s string) (PasswordCost, error) {
	parts := strings.Split(s, ",")
	if len(parts) != 3 {
		return PasswordCost{}, errors.New("the parameters are not m=M,t=T,p=P")
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(parts[i], name)
		bits := 32
		if name == "p=" {
			bits = 8
		}
		v, err := strconv.ParseUint(digits, 10, bits)
		if !ok || err != nil || strconv.FormatUint(v, 10) != digits {
			return PasswordCost{}, errors.New("the parameters are not m=M,t=T,p=P")
		}
		n[i] = v
	}
	return PasswordCost{Memory: uint32(n[0]), Passes: uint32(n[1]), Threads: uint8(n[2])}, nil //nolint:gosec // bounded above
}

// check refuses what RFC 9106, section 3.1, does not define, and what costs too much to be asked for at the door.
func (c PasswordCost) check() error {
	switch {
	case c.Threads < 1 || c.Threads > mostThreads:
		return fmt.Errorf("%d threads, want 1 to %d", c.Threads, mostThreads)
	case c.Passes < 1 || c.Passes > mostPasses:
		return fmt.Errorf("%d passes, want 1 to %d", c.Passes, mostPasses)
	case c.Memory < 8*uint32(c.Threads) || c.Memory > mostMemory:
		return fmt.Errorf("%d KiB of memory, want %d to %d", c.Memory, 8*uint32(c.Threads), mostMemory)
	case uint64(c.Memory)*uint64(c.Passes) > mostWork:
		return fmt.Errorf("%d passes over %d KiB, want at most %d KiB in all", c.Passes, c.Memory, mostWork)
	}
	return nil
}
