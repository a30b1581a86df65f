package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
)

const docsStyle = `body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1f24;background:#fff}` +
	`table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #d0d7de}` +
	`code{font:14px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}` +
	`@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}a{color:#79b8ff}}`

// docsPolicy lets the page have its own style, by its hash, and nothing else:
// no script, no image, no other host.
func docsPolicy() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

const docsText = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>omca API</title>
<style>{{.Style}}</style>
</head>
<body>
<h1>omca API {{.Version}}</h1>
<p>The same for programs, with the shapes of bodies and answers: <a href="/api/openapi">OpenAPI 3.1</a>. Errors are problems (RFC 9457).</p>
<table>
<thead><tr><th scope="col">Request</th><th scope="col">What it does</th><th scope="col">Who may</th></tr></thead>
<tbody>
{{range .Rows}}<tr><td><code>{{.Method}} {{.Path}}</code>{{range .Params}}<br><code>?{{.}}=</code>{{end}}</td><td>{{.About}}</td><td>{{.Says}}</td></tr>
{{end}}</tbody>
</table>
</body>
</html>
`

type docsRow struct {
	Method, Path, About, Says string
	Params                    []string
}

// docsPage writes the page of the table.
func docsPage(routes []route, version string) ([]byte, error) {
	page := struct {
		Style   template.CSS
		Version string
		Rows    []docsRow
	}{Style: docsStyle, Version: version}
	for _, r := range routes {
		row := docsRow{Method: r.method, Path: r.path, About: r.about, Says: r.rule.says}
		for _, p := range r.params {
			row.Params = append(row.Params, p.name)
		}
		page.Rows = append(page.Rows, row)
	}
	t, err := template.New("docs").Parse(docsText)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, page)
	return b.Bytes(), err
}
