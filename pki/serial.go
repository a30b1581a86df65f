package pki

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
)

// maxSerialOctets bounds a serial number (RFC 5280, 4.1.2.2: conforming CAs
// must not use more than 20 octets).
const maxSerialOctets = 20

// A Serial is the serial number of a certificate: lower-case hexadecimal
// without separators, prefix or leading zeros ("0" is zero). Two serials are
// the same number exactly when the strings are equal.
type Serial string

// NewSerial returns a random serial of 128 bits, 127 of them random: the top
// bit is always set, so that every serial has 32 digits. It is positive (the
// DER form gets a leading zero octet, 17 in all).
func NewSerial() (Serial, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("random serial: %w", err)
	}
	b[0] |= 0x80
	return Serial(fmt.Sprintf("%x", b)), nil
}

// ParseSerial reads a serial as people write it: hexadecimal in either case,
// with colons or not, with 0x or not. Errors: ErrInvalid.
func ParseSerial(s string) (Serial, error) {
	const maxInput = 2 + 3*(maxSerialOctets+1) // 0x, and "00:" for each octet
	if len(s) > maxInput {
		return "", fmt.Errorf("%w: serial number of %d characters: a serial has at most %d octets", ErrInvalid, len(s), maxSerialOctets)
	}
	digits := strings.ToLower(s)
	digits = strings.TrimPrefix(digits, "0x")
	digits = strings.ReplaceAll(digits, ":", "")
	// big.Int.SetString also takes signs and underscores: look at each digit first.
	notHex := func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }
	if digits == "" || strings.ContainsFunc(digits, notHex) {
		return "", fmt.Errorf("%w: serial number %q is not hexadecimal", ErrInvalid, s)
	}
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		digits = "0"
	}
	if len(digits) > 2*maxSerialOctets {
		return "", fmt.Errorf("%w: serial number %q has more than %d octets", ErrInvalid, s, maxSerialOctets)
	}
	return Serial(digits), nil
}

// SerialOf returns the serial number of cert.
func SerialOf(cert *x509.Certificate) Serial { return Serial(cert.SerialNumber.Text(16)) }

// Int returns the serial as a number; zero for a Serial that did not come from
// this package and is not hexadecimal.
func (s Serial) Int() *big.Int {
	n, ok := new(big.Int).SetString(string(s), 16)
	if !ok {
		return new(big.Int)
	}
	return n
}
