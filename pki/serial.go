package pki

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
)

// maxSerialOctets bounds a serial number (RFC 5280, 4.1.2.2: conforming CAs
// must not use more than 20 octets).
const maxSerialOctets = 20

// A Serial is the serial number of a certificate: lower-case hexadecimal
// without separators, prefix or leading zeros ("0" is zero). Two serials are
// the same number exactly when the strings are equal.
type Serial string

// NewSerial returns a serial of 159 bits: 31 of the time that it is made at, in
// steps of two seconds, and 128 random ones. It is positive and as long as RFC 5280
// (4.1.2.2) allows, 20 octets. The time says no more than notBefore does; with it
// the serials of an inventory lie in the order of issuing (ADR 0060).
func NewSerial(at time.Time) (Serial, error) {
	b := make([]byte, maxSerialOctets)
	binary.BigEndian.PutUint32(b, serialSteps(at))
	if _, err := rand.Read(b[4:]); err != nil {
		return "", fmt.Errorf("random serial: %w", err)
	}
	return Serial(new(big.Int).SetBytes(b).Text(16)), nil
}

// serialSteps is the part of a serial that says when it was made. 31 bits: with the
// topmost one the number would be negative, or take 21 octets. They begin again in
// 2106, which costs the order alone.
func serialSteps(at time.Time) uint32 { return uint32(at.Unix() >> 1 & math.MaxInt32) }

// SerialsFrom is a text that sorts before every serial that NewSerial makes at that
// time or later, and after those that it made before.
func SerialsFrom(at time.Time) string { return fmt.Sprintf("%x", serialSteps(at)) }

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
