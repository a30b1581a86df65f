package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"omca/internal/wire"
)

const clusterPath = "root/ccfg/cluster"

type objectsPage struct {
	Search, Kind, Wrong string
	Kinds               []string
	List                objectList
	Next                string // address
	MayMake             bool
}

// listObjects shows the objects that the visitor may read.
func listObjects(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	asked := v.r.URL.Query()
	p := objectsPage{Search: strings.TrimSpace(asked.Get("search")), Kind: asked.Get("kind"), Kinds: []string{"sec", "usr", "cfg"}}
	p.MayMake = slices.ContainsFunc([]string{"root", "admin", "squatter"}, func(role string) bool { _, ok := v.who.Grant[role]; return ok })
	kind := "*"
	if slices.Contains(p.Kinds, p.Kind) {
		kind = p.Kind
	}
	pattern, ok := glob(p.Search)
	selector := "*/" + kind + "/" + pattern + "," + pattern + "/" + kind + "/*"
	if namespace, name, two := strings.Cut(p.Search, "/"); two {
		first, one := glob(namespace)
		last, other := glob(name[strings.LastIndex(name, "/")+1:])
		selector, ok = first+"/"+kind+"/"+last, one && other
	}
	if !ok {
		p.Wrong = "Paths are of lower-case letters, digits, dots, hyphens and slashes: nothing is called so."
	} else {
		var err error
		if p.List, err = v.objects(selector, asked.Get("after")); err != nil {
			return err
		}
	}
	if p.List.Next != "" {
		p.Next = "/objects?" + url.Values{"search": {p.Search}, "kind": {p.Kind}, "after": {p.List.Next}}.Encode()
	}
	return v.show(http.StatusOK, "objects", "Objects", "objects", p)
}

type objectPage struct {
	Path      string
	Edit      string // address of the page that edits it
	Object    wire.ObjectItem
	Keywords  []field // that are set
	Nodes     []wire.NodeItem
	Store     *members // of the cluster; nil where the store is the node's own
	MayChange bool
	MayIssue  bool
	MayDelete bool
}

// pathOf is the path of the object that the address of a page names.
func (v *visit) pathOf() string {
	if v.r.PathValue("name") == "" {
		return clusterPath
	}
	return v.r.PathValue("namespace") + "/" + v.r.PathValue("kind") + "/" + v.r.PathValue("name")
}

func showObject(v *visit) error {
	p, err := v.object(v.pathOf())
	if err != nil {
		return err
	}
	p.MayIssue = p.MayChange && (strings.Contains(p.Path, "/sec/") || strings.HasPrefix(p.Path, usersPrefix))
	p.MayDelete = p.MayChange && p.Path != clusterPath
	p.Edit = "/edit/" + p.Path
	return v.show(http.StatusOK, "object", p.Path, "objects", p)
}

func showCluster(v *visit) error {
	p, err := v.object(clusterPath)
	if err != nil {
		return err
	}
	p.Edit = "/cluster/edit"
	if v.who.Root {
		nodes, err := get[wire.NodeList](v, "/api/node", nil)
		if err != nil {
			return err
		}
		p.Nodes = nodes.Items
		if p.Store, err = v.members(); err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "object", "Cluster", "cluster", p)
}

// object reads an object and what may be done with it.
func (v *visit) object(path string) (p objectPage, err error) {
	if err := v.identify(); err != nil {
		return p, err
	}
	p.Path = path
	at, err := urlOf(path)
	if err != nil {
		return p, err
	}
	if p.Object, err = get[wire.ObjectItem](v, at, nil); err != nil {
		return p, err
	}
	if p.Keywords, err = v.fields(p.Path, p.Object.Data.Keywords); err != nil {
		return p, err
	}
	p.Keywords = slices.DeleteFunc(p.Keywords, func(f field) bool { return f.Value == "" })
	return p, v.allowed(&p.MayChange, "change", p.Path)
}

type newObject struct {
	Path, Keywords, Wrong, Hint string
}

func askObject(v *visit) error {
	if err := v.identify(); err != nil {
		return err
	}
	return v.show(http.StatusOK, "objectnew", "Make an object", "objects", newObject{})
}

// addObject makes an object with the keywords of the form, a line each.
func addObject(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	if err := v.identify(); err != nil {
		return err
	}
	f := newObject{Path: strings.TrimSpace(form.Get("path")), Keywords: form.Get("keywords")}
	again := func(p problem) error {
		f.Wrong, f.Hint = p.Detail, p.Hint
		return v.show(p.Status, "objectnew", "Make an object", "objects", f)
	}
	at, err := urlOf(f.Path)
	if no, ok := problemOf(err); ok {
		return again(no)
	}
	if _, err := get[wire.ObjectItem](v, at, nil); err == nil {
		return again(problem{Status: http.StatusConflict, Detail: f.Path + " is there already", Hint: "edit its keywords instead"})
	}
	var keywords []string
	for line := range strings.Lines(f.Keywords) {
		if line = strings.TrimSpace(line); line != "" {
			keywords = append(keywords, line)
		}
	}
	_, err = v.post(at, nil, wire.CreateRequest{Keywords: keywords})
	if no, ok := problemOf(err); ok {
		return again(no)
	}
	if err != nil {
		return err
	}
	return v.to("/objects/" + f.Path + "?done=made")
}

// askDelete asks once more: nothing brings an object back but a backup.
func askDelete(v *visit) error {
	p, err := v.object(v.pathOf())
	if err != nil {
		return err
	}
	if err := v.needs("delete", p.Path); err != nil {
		return err
	}
	return v.show(http.StatusOK, "delete", "Delete "+p.Path, "objects", p)
}

func deleteObject(v *visit) error {
	form, err := v.form()
	if err != nil {
		return err
	}
	if form.Get("confirm") != "yes" {
		return bad(http.StatusBadRequest, "nothing was deleted: tick the box that says that it cannot be undone")
	}
	path := v.pathOf()
	at, err := urlOf(path)
	if err != nil {
		return err
	}
	query := url.Values{}
	if form.Get("revoke") == "yes" {
		query.Set("revoke", "true")
	}
	if _, err := v.post(at+"/action/delete", query, nil); err != nil {
		return err
	}
	if strings.HasPrefix(path, usersPrefix) {
		return v.to("/users?done=deleted")
	}
	return v.to("/objects?done=deleted")
}
