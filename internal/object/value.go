package object

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

const (
	maxValue = 64 << 10  // bytes in a value
	maxWords = 1000      // words in a list
	maxCount = 1_000_000 // the largest count or rate
)

// Clean checks value for the keyword and returns it as it is kept: without
// white space around it, and with one blank between the words of a list. An
// empty value is accepted: it is no value. Errors are [ca.ErrInvalid].
func (k Keyword) Clean(value string) (string, error) {
	if len(value) > maxValue {
		return "", Invalidf("keyword %q: the value has %d bytes, at most %d", k.Name, len(value), maxValue)
	}
	value = strings.TrimSpace(value)
	if k.Type.List() {
		words := strings.Fields(value)
		if len(words) > maxWords {
			return "", Invalidf("keyword %q: %d words, at most %d", k.Name, len(words), maxWords)
		}
		value = strings.Join(words, " ")
	}
	if value == "" {
		return "", nil
	}
	err := checkText(value)
	if err == nil {
		err = k.check(value)
	}
	if err != nil {
		return "", Invalidf("keyword %q: %w", k.Name, err)
	}
	return value, nil
}

// checkText refuses what cannot be seen: control characters end up in
// certificates, logs and terminals, and a config file has one value a line.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%q is not UTF-8", clip(s))
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return fmt.Errorf("%q: character %U cannot be printed", clip(s), r)
	}
	return nil
}

// check checks a value that is not empty, printable and clean.
func (k Keyword) check(value string) error {
	switch k.Type {
	case TypeString:
		if n := utf8.RuneCountInString(value); n > k.Max {
			return fmt.Errorf("%q has %d characters, at most %d", clip(value), n, k.Max)
		}
		return nil
	case TypeChoice:
		return checkChoice(value, k.Choices)
	case TypeWords:
		return checkChoices(strings.Fields(value), k.Choices)
	case TypeGrants:
		return only(usr.ParseGrants)(value)
	case TypeLives:
		return only(parseLives)(value)
	case TypeNames:
		return only(pki.ParseNames)(strings.Fields(value))
	case TypePatterns:
		return only(pki.NewPolicy)(pki.PolicyRules{Allow: strings.Fields(value)})
	}
	check := checkWord(k.Type)
	if check == nil {
		return fmt.Errorf("type %q has no check", k.Type)
	}
	if !k.Type.List() {
		return check(value)
	}
	for _, word := range strings.Fields(value) {
		if err := check(word); err != nil {
			return err
		}
	}
	return nil
}

// checkWord is the check of one value, or of each word of a list.
func checkWord(t Type) func(string) error {
	switch t {
	case TypeCountry:
		return checkCountry
	case TypeEmail:
		return checkEmail
	case TypeDuration:
		return checkDuration
	case TypeKeyType:
		return only(pki.ParseKeyType)
	case TypeProfile:
		return only(pki.LookupProfile)
	case TypeBits:
		return only(parseBits)
	case TypePath, TypePaths:
		return checkSecPath
	case TypeNetworks:
		return only(parseNetwork)
	case TypeBool:
		return only(parseBool)
	case TypeLabel:
		return checkPart
	case TypeUUID:
		return checkUUID
	case TypeHost, TypeHosts:
		return checkHost
	case TypePort:
		return only(parsePort)
	case TypeAddr:
		return checkAddr
	case TypeSources:
		return checkSource
	case TypeIssuer:
		return checkIssuer
	case TypeCount:
		return only(parseCount)
	case TypeRate:
		return only(parseRate)
	}
	return nil
}

// only turns a parser into a check.
func only[S, T any](parse func(S) (T, error)) func(S) error {
	return func(s S) error {
		_, err := parse(s)
		return err
	}
}

func checkChoice(s string, choices []string) error {
	if slices.Contains(choices, s) {
		return nil
	}
	err := fmt.Errorf("%q is none of %s", clip(s), join(choices))
	if near, ok := hint.Nearest(s, choices); ok {
		return hint.With(err, "did you mean %q?", near)
	}
	return err
}

func checkChoices(words, choices []string) error {
	for i, word := range words {
		if err := checkChoice(word, choices); err != nil {
			return err
		}
		if slices.Contains(words[:i], word) {
			return fmt.Errorf("%q is there twice", word)
		}
	}
	return nil
}

// RFC 5280, appendix A.1: X520countryName is a PrintableString of two letters.
func checkCountry(s string) error {
	letters := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	if len(s) != 2 || !letters(rune(s[0])) || !letters(rune(s[1])) {
		return fmt.Errorf("%q is not a country of two letters", clip(s))
	}
	return nil
}

func checkEmail(s string) error { return only(pki.ParseNames)([]string{"email:" + s}) }

func checkDuration(s string) error {
	d, err := ParseDuration(s)
	if err == nil && d < time.Second {
		return fmt.Errorf("%q is less than 1s", clip(s))
	}
	return err
}

func parseBits(s string) (int, error) {
	number := s
	for _, unit := range []string{"kib", "k"} {
		if n, ok := strings.CutSuffix(strings.ToLower(s), unit); ok {
			number = n
			break
		}
	}
	n, err := strconv.Atoi(number)
	if number != s && n < 1024 {
		n *= 1024
	}
	if err != nil || n != 2048 && n != 3072 && n != 4096 {
		return 0, fmt.Errorf("%q is none of 2048, 3072, 4096, 2k, 3k, 4k", clip(s))
	}
	return n, nil
}

func checkSecPath(s string) error {
	p, err := ParsePath(s)
	if err == nil && p.Kind != KindSec {
		return fmt.Errorf("%q is a %s, not a sec", clip(s), p.Kind)
	}
	return err
}

func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a CIDR", clip(s))
	}
	if n != n.Masked() {
		return netip.Prefix{}, hint.With(fmt.Errorf("%q has bits set beyond its length", clip(s)), "write %q or %q", n.Addr(), n.Masked())
	}
	return n, nil
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", clip(s))
}

// checkUUID wants the form of RFC 9562, section 4.
func checkUUID(s string) error {
	groups := strings.Split(s, "-")
	ok := len(groups) == 5
	for i, n := range []int{8, 4, 4, 4, 12} {
		ok = ok && len(groups[i]) == n && strings.Trim(groups[i], "0123456789abcdefABCDEF") == ""
	}
	if !ok {
		return fmt.Errorf("%q is not a UUID", clip(s))
	}
	return nil
}

// checkHost wants an IP address or a host name as RFC 1123, section 2.1 has it.
func checkHost(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	const most = 253
	bad := fmt.Errorf("%q is neither a host name nor an IP address", clip(s))
	labels := strings.Split(s, ".")
	// 1.2.3 and 1.2.3.400 are slips in an address, not names.
	if len(s) > most || strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return bad
	}
	for _, label := range labels {
		if checkPart(strings.ToLower(label)) != nil || strings.HasSuffix(label, "-") {
			return bad
		}
	}
	return nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port from 1 to 65535", clip(s))
	}
	return int(n), nil
}

func checkAddr(s string) error {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return hint.With(fmt.Errorf("%q has no port", clip(s)), "write %q", clip(s)+":80")
	}
	host, bracketed := strings.CutPrefix(s[:i], "[")
	if bracketed {
		if host, bracketed = strings.CutSuffix(host, "]"); !bracketed {
			return fmt.Errorf(`%q: "[" without "]"`, clip(s))
		}
	} else if strings.Contains(host, ":") {
		return fmt.Errorf("%q: an IPv6 address stands in brackets", clip(s))
	}
	if host != "" || bracketed {
		if err := checkHost(host); err != nil {
			return err
		}
	}
	return only(parsePort)(s[i+1:])
}

func checkSource(s string) error {
	if filepath.IsAbs(s) {
		return nil
	}
	if !strings.Contains(s, "://") {
		if err := checkSecPath(s); err != nil {
			return fmt.Errorf("%q is none of a URL, an absolute file name and the path of a sec", clip(s))
		}
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is not an http or https URL", clip(s))
	}
	if u.User != nil {
		return errors.New("a URL with a password in it: a config is no place for secrets")
	}
	return nil
}

// OpenID Connect Discovery 1.0, section 3: an issuer is an https URL with
// neither query nor fragment. Plain http is for an issuer on this machine.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") {
		return errors.New("not a URL of the form https://host/path")
	}
	if u.Scheme == "https" {
		return nil
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && addr.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%q is not an https URL", clip(s))
}

func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n > maxCount {
		return 0, fmt.Errorf("%q is not a whole number from 0 to %d", clip(s), maxCount)
	}
	return int(n), nil
}

// parseLives reads durations by profile: "825d usr=90d". That of "" is for the profiles
// that are not named. 0 is no bound.
func parseLives(s string) (map[string]time.Duration, error) {
	lives := make(map[string]time.Duration)
	for _, word := range strings.Fields(s) {
		profile, text, named := strings.Cut(word, "=")
		if !named {
			profile, text = "", word
		} else if _, err := pki.LookupProfile(profile); err != nil {
			return nil, err
		}
		if _, twice := lives[profile]; twice {
			return nil, fmt.Errorf("%q: the bound of %s is there twice", clip(s), cmp.Or(profile, "every other profile"))
		}
		if text == "0" {
			lives[profile] = 0
			continue
		}
		if err := checkDuration(text); err != nil {
			return nil, err
		}
		life, err := ParseDuration(text)
		if err != nil {
			return nil, err
		}
		lives[profile] = life
	}
	return lives, nil
}

// parseRate reads N/s, N/m or N/h as events per second; N alone is N/s.
func parseRate(s string) (float64, error) {
	number, per, _ := strings.Cut(s, "/")
	seconds := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[per]
	n, err := parseCount(number)
	if err != nil || seconds == 0 || strings.HasSuffix(s, "/") {
		return 0, fmt.Errorf("%q is not a rate such as 20/s, 100/m or 0", clip(s))
	}
	return float64(n) / seconds, nil
}
