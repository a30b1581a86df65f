package pki

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Subject is who a certificate is for: the parts of the distinguished name
// that are kept. An empty part gives no RDN. Email is no part of the
// distinguished name: it becomes a subject alternative name, as RFC 5280,
// 4.1.2.6 asks of new certificates.
type Subject struct {
	CommonName         string // at most 64 characters
	Country            string // two letters
	Province           string // at most 128 characters
	Locality           string // at most 128 characters
	Organization       string // at most 64 characters
	OrganizationalUnit string // at most 64 characters
	Email              string // at most 254 characters
}

// Check holds the parts against the upper bounds of RFC 5280, appendix A.1.
// Errors: ErrInvalid, naming the part.
func (s Subject) Check() error {
	parts := []struct {
		name, value string
		most        int
	}{
		{"common name", s.CommonName, 64},
		{"country", s.Country, 2},
		{"state or province", s.Province, 128},
		{"locality", s.Locality, 128},
		{"organization", s.Organization, 64},
		{"organizational unit", s.OrganizationalUnit, 64},
	}
	for _, p := range parts {
		if n := utf8.RuneCountInString(p.value); n > p.most {
			return fmt.Errorf("%w: %s of %d characters, at most %d fit", ErrInvalid, p.name, n, p.most)
		}
		// A name that looks like another one is refused with the control characters.
		bad := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
		if strings.ContainsFunc(p.value, bad) {
			return fmt.Errorf("%w: %s %q holds a character that does not print", ErrInvalid, p.name, p.value)
		}
	}
	letter := func(r rune) bool { return 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' }
	if c := s.Country; c != "" && (len(c) != 2 || !letter(rune(c[0])) || !letter(rune(c[1]))) {
		return fmt.Errorf("%w: country %q: want two letters (ISO 3166)", ErrInvalid, c)
	}
	if s.Email != "" {
		if _, err := canonicalEmail(s.Email); err != nil {
			return err
		}
	}
	return nil
}

// name returns the distinguished name. Empty parts give no RDN.
func (s Subject) name() pkix.Name {
	one := func(part string) []string {
		if part == "" {
			return nil
		}
		return []string{part}
	}
	return pkix.Name{
		CommonName:         s.CommonName,
		Country:            one(strings.ToUpper(s.Country)), // ISO 3166-1: the codes are upper case, people write "fr"
		Province:           one(s.Province),
		Locality:           one(s.Locality),
		Organization:       one(s.Organization),
		OrganizationalUnit: one(s.OrganizationalUnit),
	}
}

// maxLeftOut bounds how many attributes of a subject are named as left out.
const maxLeftOut = 10

// subjectOf reads the parts that are kept from a distinguished name. It also returns
// the names of the attributes that are left out, each once, maxLeftOut at most. A part
// that is there twice is refused: which one was meant?
func subjectOf(name pkix.Name) (s Subject, left []string, err error) {
	parts := map[string]*string{
		"2.5.4.3":              &s.CommonName,
		"2.5.4.6":              &s.Country,
		"2.5.4.7":              &s.Locality,
		"2.5.4.8":              &s.Province,
		"2.5.4.10":             &s.Organization,
		"2.5.4.11":             &s.OrganizationalUnit,
		"1.2.840.113549.1.9.1": &s.Email,
	}
	seen := make(map[string]bool, len(parts))
	for _, attribute := range name.Names {
		oid := asn1.ObjectIdentifier(attribute.Type).String()
		part, kept := parts[oid]
		if !kept {
			if len(left) < maxLeftOut {
				left = appendNew(left, attributeName(oid))
			}
			continue
		}
		value, text := attribute.Value.(string)
		if !text {
			return Subject{}, nil, fmt.Errorf("%w: subject attribute %s is no text", ErrInvalid, oid)
		}
		if seen[oid] {
			return Subject{}, nil, fmt.Errorf("%w: subject attribute %s twice: %q and %q", ErrInvalid, oid, *part, value)
		}
		seen[oid] = true
		*part = value
	}
	return s, left, s.Check()
}

// attributeName returns the name of an attribute of a subject that is left out: the
// keyword of RFC 4514, section 3, or of RFC 4519, else the object identifier.
func attributeName(oid string) string {
	switch oid {
	case "0.9.2342.19200300.100.1.1":
		return "UID"
	case "0.9.2342.19200300.100.1.25":
		return "DC"
	case "2.5.4.4":
		return "sn"
	case "2.5.4.5":
		return "serialNumber"
	case "2.5.4.9":
		return "street"
	case "2.5.4.12":
		return "title"
	case "2.5.4.17":
		return "postalCode"
	case "2.5.4.42":
		return "givenName"
	}
	const most = 64 // characters
	if len(oid) > most {
		return oid[:most] + "..."
	}
	return oid
}
