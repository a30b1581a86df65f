package clustercockpit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
	"unicode"
	"unicode/utf8"
)

// Backdate is how far before the moment of signing a token says that it was issued: cc-metric-store refuses a token that is ahead of its
// clock, and two clocks never agree.
const Backdate = 10 * time.Second

// maxName is the length in bytes of the longest subject, issuer, name or project.
const maxName = 255

// Claims is what a token says.
type Claims struct {
	Subject  string    // name of the user
	Roles    []Role    // at least one to sign; may be none in what others signed
	IssuedAt time.Time // in whole seconds. To sign: zero is a moment ago; zero in what others signed when it does not say
	Expires  time.Time // in whole seconds; zero is never

	// Of a cross login only: the user comes from somewhere else, and cc-backend may make or update its own from this.
	Issuer   string
	Name     string   // full name; may be empty
	Projects []string // that a manager manages; may be empty
}

// payload is what is signed, in this order. cc-backend reads times as integers.
type payload struct {
	Expires  int64    `json:"exp,omitempty"`
	IssuedAt int64    `json:"iat"`
	Issuer   string   `json:"iss,omitempty"`
	Name     string   `json:"name,omitempty"`
	Projects []string `json:"projects,omitempty"`
	Roles    []Role   `json:"roles"`
	Subject  string   `json:"sub"`
}

// checkName refuses what cannot be shown in one line, or sent in a header.
func checkName(what, name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w %s: it has %d bytes, want 1 to %d", ErrInvalid, what, len(name), maxName)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%w %s: it is not UTF-8", ErrInvalid, what)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%w %s %.64q: it has the character %U", ErrInvalid, what, name, r)
		}
	}
	return nil
}

// readClaims reads the claims that are known, and lets any other be (RFC 7519, 4). A claim of the wrong type is refused, not skipped.
func readClaims(text []byte) (Claims, time.Time, error) {
	members, err := readObject(text)
	if err != nil {
		return Claims{}, time.Time{}, err
	}
	var c Claims
	var roles []string
	var notBefore time.Time
	err = errors.Join(
		readText(members, "sub", &c.Subject), readText(members, "iss", &c.Issuer),
		readTexts(members, "roles", &roles), readTexts(members, "projects", &c.Projects),
		readName(members, &c.Name),
		readTime(members, "iat", &c.IssuedAt), readTime(members, "exp", &c.Expires), readTime(members, "nbf", &notBefore),
	)
	for _, role := range roles {
		c.Roles = append(c.Roles, Role(role))
	}
	return c, notBefore, err
}

// readObject reads a JSON object whose members each have one value: of two, one program may take the first and another the last.
func readObject(text []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	members := make(map[string]json.RawMessage)
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("it is no JSON object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("it is no JSON object")
		}
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("%.32q is there twice", name)
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("it ends early")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it goes on behind its end")
	}
	return members, nil
}

func isNull(value json.RawMessage) bool { return string(value) == "null" }

func readText(members map[string]json.RawMessage, name string, to *string) error {
	value, ok := members[name]
	if ok && (isNull(value) || json.Unmarshal(value, to) != nil) {
		return fmt.Errorf("%q is no string", name)
	}
	return nil
}

func readTexts(members map[string]json.RawMessage, name string, to *[]string) error {
	value, ok := members[name]
	if !ok {
		return nil
	}
	var texts []*string
	if isNull(value) || json.Unmarshal(value, &texts) != nil {
		return fmt.Errorf("%q is no list of strings", name)
	}
	for _, t := range texts {
		if t == nil {
			return fmt.Errorf("%q is no list of strings", name)
		}
		*to = append(*to, *t)
	}
	return nil
}

// readName reads the full name, which is a string or, as some issuers have it, {"values": ["First", "Last"]}.
func readName(members map[string]json.RawMessage, to *string) error {
	value, ok := members["name"]
	if !ok || isNull(value) || json.Unmarshal(value, to) == nil {
		return nil
	}
	inner, err := readObject(value)
	if err != nil {
		return errors.New("\"name\" is neither a string nor an object")
	}
	var words []string
	if err := readTexts(inner, "values", &words); err != nil {
		return err
	}
	for _, w := range words {
		if *to != "" {
			*to += " "
		}
		*to += w
	}
	return nil
}

// readTime reads a NumericDate (RFC 7519, 2). Seconds that no clock will ever show are refused, before they overflow one.
func readTime(members map[string]json.RawMessage, name string, to *time.Time) error {
	value, ok := members[name]
	if !ok {
		return nil
	}
	var seconds float64
	if isNull(value) || json.Unmarshal(value, &seconds) != nil || seconds < 0 || seconds >= 1<<40 {
		return fmt.Errorf("%q is no number of seconds", name)
	}
	whole, part := math.Modf(seconds)
	*to = time.Unix(int64(whole), int64(part*1e9))
	return nil
}
