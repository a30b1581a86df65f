package console

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"omca/internal/wire"
)

// A field is a keyword of an object as a form has it.
type field struct {
	wire.KeywordDoc
	Value, Was string
	List       bool // of words
	Wrong      string
}

type keywordsPage struct {
	Path, Back  string
	Fields      []field
	Wrong, Hint string // about the whole
}

// listed are the types of keywords that are lists of words, as the API names them.
func listed(kind string) bool {
	return slices.Contains([]string{"names", "patterns", "paths", "grants", "words", "networks", "hosts", "sources"}, kind)
}

// fields are all keywords that the object at a path can have.
func (v *visit) fields(path string, values map[string]string) ([]field, error) {
	_, kind, _, ok := cut(path)
	if !ok {
		return nil, bad(http.StatusBadRequest, "the path of an object is NAMESPACE/KIND/NAME")
	}
	if kind == "ccfg" {
		kind = "cluster"
	}
	docs, err := get[wire.KeywordDocs](v, "/api/keyword", url.Values{"kind": {kind}})
	if err != nil {
		return nil, err
	}
	var all []field
	known := map[string]bool{}
	for _, doc := range docs.Items {
		known[doc.Keyword] = true
		all = append(all, field{KeywordDoc: doc, Value: values[doc.Keyword], Was: values[doc.Keyword], List: listed(doc.Type)})
	}
	for _, keyword := range slices.Sorted(maps.Keys(values)) { // env.* of a cfg, which nobody lists
		if !known[keyword] {
			all = append(all, field{KeywordDoc: wire.KeywordDoc{Keyword: keyword, Type: "string"}, Value: values[keyword], Was: values[keyword]})
		}
	}
	return all, nil
}

// keywords is the form for the object that the address names.
func (v *visit) keywords() (p keywordsPage, at string, err error) {
	if err := v.identify(); err != nil {
		return p, "", err
	}
	p = keywordsPage{Path: v.pathOf(), Back: "/objects/" + v.pathOf()}
	if p.Path == clusterPath {
		p.Back = "/cluster"
	}
	if at, err = urlOf(p.Path); err != nil {
		return p, at, err
	}
	o, err := get[wire.ObjectItem](v, at, nil)
	if err != nil {
		return p, at, err
	}
	p.Fields, err = v.fields(p.Path, o.Data.Keywords)
	return p, at, err
}

func (v *visit) showKeywords(status int, p keywordsPage) error {
	section := "objects"
	if p.Path == clusterPath {
		section = "cluster"
	}
	return v.show(status, "keywords", "Keywords of "+p.Path, section, p)
}

func askKeywords(v *visit) error {
	p, _, err := v.keywords()
	if err != nil {
		return err
	}
	if err := v.needs("change", p.Path); err != nil {
		return err
	}
	return v.showKeywords(http.StatusOK, p)
}

// setKeywords stores the fields that the visitor changed, all or none. What each
// field had when the form was made comes back with it: what somebody else changed
// meanwhile is not put back.
func setKeywords(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	p, at, err := v.keywords()
	if err != nil {
		return err
	}
	if err := v.needs("change", p.Path); err != nil {
		return err
	}
	changed, wrong := map[string]string{}, map[string]string{}
	for i := range p.Fields {
		f := &p.Fields[i]
		f.Value, f.Was = strings.TrimSpace(form.Get("kw."+f.Keyword)), form.Get("was."+f.Keyword)
		if f.List {
			f.Value = words(f.Value)
		}
		if f.Value != f.Was {
			changed[f.Keyword] = f.Value
		}
	}
	if len(changed) == 0 {
		return v.to(p.Back + "?done=same")
	}
	if err := v.judge(p.Path, changed, wrong); err != nil {
		return err
	}
	if len(wrong) == 0 {
		_, err = v.change(http.MethodPatch, at+"/config", changes(changed), nil)
		no, refused := problemOf(err)
		switch {
		case err == nil:
			return v.to(p.Back + "?done=saved")
		case !refused:
			return err
		}
		p.Wrong, p.Hint = no.Detail, no.Hint
		return v.showKeywords(no.Status, p)
	}
	for i := range p.Fields {
		p.Fields[i].Wrong = wrong[p.Fields[i].Keyword]
	}
	p.Wrong = "Nothing was changed: look at the fields that are marked."
	return v.showKeywords(http.StatusBadRequest, p)
}

// changes are the parameters that set keywords, and unset those without a value.
func changes(keywords map[string]string) url.Values {
	query := url.Values{}
	for _, keyword := range slices.Sorted(maps.Keys(keywords)) {
		if keywords[keyword] == "" {
			query.Add("unset", keyword)
			continue
		}
		query.Add("set", keyword+"="+keywords[keyword])
	}
	return query
}

// judge asks of each keyword alone whether it can be set so, and by this visitor,
// so that the answer stands beside its field. What is taken away is the API's to
// refuse.
func (v *visit) judge(path string, keywords, wrong map[string]string) error {
	for keyword, value := range keywords {
		if value == "" {
			continue
		}
		verdict, err := v.may("set", path, keyword+"="+value)
		no, refused := problemOf(err)
		switch {
		case refused && no.Hint != "":
			wrong[keyword] = no.Detail + "; " + no.Hint
		case refused:
			wrong[keyword] = no.Detail
		case err != nil:
			return err
		case !verdict.Allowed:
			wrong[keyword] = verdict.Reason
		}
	}
	return nil
}
