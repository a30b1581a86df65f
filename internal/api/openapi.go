package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"omca/internal/wire"
)

// The parts of an OpenAPI 3.1 document that this API needs.
type (
	document struct {
		OpenAPI    string                          `json:"openapi"`
		Info       info                            `json:"info"`
		Paths      map[string]map[string]operation `json:"paths"`
		Components components                      `json:"components"`
	}
	info struct {
		Title       string `json:"title"`
		Version     string `json:"version"`
		Description string `json:"description"`
	}
	components struct {
		Schemas         schemas               `json:"schemas"`
		SecuritySchemes map[string]authScheme `json:"securitySchemes"`
	}
	authScheme struct {
		Type        string `json:"type"`
		Scheme      string `json:"scheme,omitempty"` // of type http
		In          string `json:"in,omitempty"`     // of type apiKey, like the next
		Name        string `json:"name,omitempty"`
		Description string `json:"description"`
	}
	operation struct {
		OperationID string                `json:"operationId"`
		Summary     string                `json:"summary"`
		Description string                `json:"description"`
		Parameters  []parameter           `json:"parameters,omitempty"`
		RequestBody *requestBody          `json:"requestBody,omitempty"`
		Responses   map[string]answerDoc  `json:"responses"`
		Security    []map[string][]string `json:"security"`
	}
	parameter struct {
		Name        string `json:"name"`
		In          string `json:"in"`
		Description string `json:"description,omitempty"`
		Required    bool   `json:"required,omitempty"`
		AllowEmpty  bool   `json:"allowEmptyValue,omitempty"`
		Schema      schema `json:"schema"`
	}
	requestBody struct {
		Required bool               `json:"required"`
		Content  map[string]content `json:"content"`
	}
	answerDoc struct {
		Description string             `json:"description"`
		Content     map[string]content `json:"content,omitempty"`
	}
	content struct {
		Schema schema `json:"schema"`
	}
)

// openAPI writes the document of the table.
func openAPI(routes []route, version string) ([]byte, error) {
	doc := document{
		OpenAPI: "3.1.0",
		Info: info{Title: "omca", Version: version,
			Description: "Certificates, users and secrets. Errors are problems (RFC 9457). A call with the header Omca-Ask is refused (409) when it breaks something for others, and the problem says what. What an operation needs of its caller is in its description."},
		Paths: make(map[string]map[string]operation),
		Components: components{
			Schemas:         make(schemas),
			SecuritySchemes: authSchemes(),
		},
	}
	for _, r := range routes {
		op, err := r.operation(doc.Components.Schemas)
		if err != nil {
			return nil, err
		}
		if doc.Paths[r.path] == nil {
			doc.Paths[r.path] = make(map[string]operation)
		}
		doc.Paths[r.path][strings.ToLower(r.method)] = op
	}
	return json.MarshalIndent(doc, "", "  ")
}

// authSchemes are the ways to prove a name, of which any one is enough.
func authSchemes() map[string]authScheme {
	return map[string]authScheme{
		"x509":    {Type: "mutualTLS", Description: "A client certificate of the internal CA, or of a CA that the keyword cluster.ca names."},
		"bearer":  {Type: "http", Scheme: "bearer", Description: "A token of the cluster, or of the issuer that the keyword listener.openid_issuer names."},
		"basic":   {Type: "http", Scheme: "basic", Description: "The name and the password of a user."},
		"session": {Type: "apiKey", In: "cookie", Name: SessionCookie, Description: "What logging in sets. A page of another origin changes nothing with it."},
	}
}

func (r route) operation(s schemas) (operation, error) {
	op := operation{
		OperationID: r.id, Summary: r.about, Description: "Who may: " + r.rule.says + ".",
		Parameters: r.parameters(), Responses: make(map[string]answerDoc), Security: []map[string][]string{},
	}
	if !r.rule.public {
		for _, name := range slices.Sorted(maps.Keys(authSchemes())) {
			op.Security = append(op.Security, map[string][]string{name: {}})
		}
	}
	if r.body.media != "" {
		c, err := contentOf(s, r.body.media, r.body.schema)
		if err != nil {
			return operation{}, err
		}
		if r.body.orForm {
			c[mediaForm] = content{Schema: c[r.body.media].Schema}
		}
		op.RequestBody = &requestBody{Required: !r.body.optional, Content: c}
	}
	for _, status := range []int{r.answer.status, r.answer.another} {
		if status == 0 {
			continue
		}
		c, err := contentOf(s, r.answer.media, r.answer.schema)
		if err != nil {
			return operation{}, err
		}
		if r.answer.orText {
			c["text/plain"] = content{Schema: schema{Type: "string"}}
		}
		op.Responses[strconv.Itoa(status)] = answerDoc{Description: http.StatusText(status), Content: c}
	}
	if r.answer.unchanged {
		op.Responses["304"] = answerDoc{Description: http.StatusText(http.StatusNotModified)}
	}
	problem, err := contentOf(s, mediaProblem, reflect.TypeFor[wire.Problem]())
	op.Responses["default"] = answerDoc{Description: "A problem.", Content: problem}
	return op, err
}

// contentOf says what a body is; without a schema it is text or bytes.
func contentOf(s schemas, media string, t reflect.Type) (map[string]content, error) {
	if media == "" {
		return nil, nil
	}
	media, _, _ = strings.Cut(media, ";")
	if t == nil {
		c := content{}
		if media != mediaJSON {
			c.Schema.Type = "string"
		}
		return map[string]content{media: c}, nil
	}
	made, err := s.of(t)
	return map[string]content{media: {Schema: made}}, err
}

// parameters are those of the path and those of the query.
func (r route) parameters() []parameter {
	var params []parameter
	for _, name := range regexp.MustCompile(`{(\w+)}`).FindAllStringSubmatch(r.path, -1) {
		params = append(params, parameter{Name: name[1], In: "path", Required: true, Schema: schema{Type: "string"}})
	}
	for _, p := range r.params {
		made := parameter{Name: p.name, In: "query", Description: p.about, Schema: schema{Type: "string"}}
		if p.list {
			made.AllowEmpty = true // see call.list
			made.Schema = schema{Type: "array", Items: &schema{Type: "string"}}
		}
		params = append(params, made)
	}
	return params
}
