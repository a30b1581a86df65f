package console

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"omca/internal/wire"
	"omca/pki"
)

// readPages parses each page together with what all have.
func (s *console) readPages() (map[string]*template.Template, error) {
	words := template.FuncMap{
		"file": func(name string) (string, error) {
			f := s.files[name]
			if f == nil {
				return "", fmt.Errorf("there is no file %q", name)
			}
			return f.url(), nil
		},
		"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"left":    func(t time.Time) string { return left(t.Sub(s.Now())) },
		"soon":    func(t time.Time) bool { return t.Sub(s.Now()) < 14*24*time.Hour },
		"short":   func(text string) string { return short(text) },
		"words":   func(list []string) string { return strings.Join(list, ", ") },
		"state":   stateWords,
		"profile": profileWords,
		"has":     slices.Contains[[]string],
		"facts":   facts,
		"called":  called,
		"size":    size,
		"chain":   chainSubjects,
		"owner": func(path string) string {
			if name, ok := strings.CutPrefix(path, "system/usr/"); ok {
				return name
			}
			return ""
		},
	}
	pages := make(map[string]*template.Template)
	for _, name := range pageNames() {
		t, err := template.New(name).Funcs(words).ParseFS(embedded, "templates/layout.html", "templates/parts.html", "templates/"+name+".html")
		if err != nil {
			return nil, err
		}
		pages[name] = t
	}
	return pages, nil
}

// pageNames are the templates of pages.
func pageNames() []string {
	return []string{
		"login", "signedin", "error", "overview", "hands", "audit", "certificates", "certificate", "revoke", "pkcs12", "issue", "preview",
		"users", "usernew", "user", "grants", "password", "tokens", "tokennew", "token", "objects", "objectnew", "object", "keywords", "delete",
	}
}

// left says a time from now in the unit that a person would use.
func left(d time.Duration) string {
	const day = 24 * time.Hour
	count := func(n int, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	ago, d := d < 0, d.Abs()
	var text string
	switch {
	case d >= 2*day:
		text = count(int(d/day), "day")
	case d >= time.Hour:
		text = count(int(d/time.Hour), "hour")
	default:
		text = count(int(d/time.Minute), "minute")
	}
	if ago {
		return text + " ago"
	}
	return "in " + text
}

// size says bytes in the unit that a person would use.
func size(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d kB", (bytes+1023)>>10)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
}

// short is the beginning and the end of a serial number or of an id: serial numbers
// begin with the time, and those of the same minute alike.
func short(text string) string {
	const each = 6
	if len(text) <= 2*each {
		return text
	}
	return text[:each] + "…" + text[len(text)-each:]
}

// profileWords says what a profile is for.
func profileWords(profile string) string {
	switch profile {
	case "usr":
		return "usr: to call services, as a user"
	case "node":
		return "node: a machine, to be called and to call"
	case "listener":
		return "listener: a server, to be called and to call"
	}
	return profile
}

// called is what to call a certificate: by its subject, or, where that is empty,
// by the first of its names.
func called(r wire.Record) string {
	switch {
	case r.Subject != "":
		return r.Subject
	case len(r.Names) > 0:
		return r.Names[0]
	}
	return short(r.Serial)
}

// facts is what a line of the audit trail says, the usual first, without what has
// a column of its own.
func facts(fields map[string]string) string {
	var all []string
	for _, name := range []string{"action", "path", "object", "subject", "serial", "owner", "keywords", "key", "reason", "address", "error"} {
		if value := fields[name]; value != "" {
			all = append(all, name+" "+value)
		}
	}
	return strings.Join(all, ", ")
}

// chainSubjects are the subjects of a chain that is PEM. What cannot be read is
// left out: beside them stands the link to all of it.
func chainSubjects(text string) []string {
	certs, err := pki.ParseCertificates([]byte(text))
	if err != nil {
		return nil
	}
	var all []string
	for _, cert := range certs {
		all = append(all, cert.Subject.String())
	}
	return all
}

func stateWords(state string) string { return strings.ReplaceAll(state, "_", " ") }
