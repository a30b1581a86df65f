package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
)

func (d *door) getConfig(ctx context.Context, c *call) (response, error) {
	o, err := d.Objects.Get(ctx, c.path)
	if err != nil {
		return response{}, err
	}
	as, err := d.evaluatedAs(ctx, c)
	if err != nil {
		return response{}, err
	}
	names := c.list("kw")
	if len(names) == 0 {
		for _, s := range o.Config.Settings() {
			names = append(names, s.Keyword)
		}
	}
	list := wire.KeywordList{Kind: "KeywordList", Items: []wire.KeywordValue{}}
	for _, name := range names {
		// Eval is also what knows whether the object can have the keyword.
		evaluated, err := o.Config.Eval(name)
		if err != nil {
			return response{}, err
		}
		item := wire.KeywordValue{Object: c.path.String(), Keyword: name, EvaluatedAs: as}
		item.Value, _ = o.Config.Get(name)
		if as != "" {
			item.Evaluated = &evaluated
		}
		list.Items = append(list.Items, item)
	}
	return reply(http.StatusOK, list)
}

// evaluatedAs is the node that the call wants values evaluated for, "" when it
// does not want that.
func (d *door) evaluatedAs(ctx context.Context, c *call) (string, error) {
	evaluate, err := c.flag("evaluate")
	if err != nil {
		return "", err
	}
	as := c.query.Get("impersonate")
	switch {
	case as == "" && !evaluate:
		return "", nil
	case as == "":
		as = "localhost"
	case !evaluate:
		return "", fmt.Errorf("%w: impersonate goes with evaluate=true", errBadRequest)
	}
	name, _, err := d.node(ctx, as)
	if errors.Is(err, errNoNode) {
		return "", fmt.Errorf("%w: impersonate: %w", errBadRequest, err)
	}
	return name, err
}

func (d *door) patchConfig(ctx context.Context, c *call) (response, error) {
	exprs, err := object.ParseExprs(c.list("set"))
	if err != nil {
		return response{}, err
	}
	u := object.Update{Delete: c.list("delete"), Unset: c.list("unset"), Set: exprs}
	if len(u.Delete)+len(u.Unset)+len(u.Set) == 0 {
		return response{}, fmt.Errorf("%w: nothing to change: give set, unset or delete", errBadRequest)
	}
	changed, err := d.configure(ctx, c, func(old object.Config) (object.Config, []string, error) { return old.Apply(u) })
	if err != nil {
		return response{}, err
	}
	return reply(http.StatusOK, wire.Changed{IsChanged: changed})
}

// configure changes the config of the object of the call, if the caller may set
// the keywords that differ. An equal config is not stored.
func (d *door) configure(ctx context.Context, c *call, change func(object.Config) (object.Config, []string, error)) (changed bool, err error) {
	o, err := d.Objects.Get(ctx, c.path)
	if err != nil {
		return false, err
	}
	next, names, err := change(o.Config)
	if err != nil {
		return false, err
	}
	if err := d.mayChange(ctx, c.who, c.path); err != nil {
		return false, err
	}
	disabled := false
	if c.path.Kind == object.KindUsr && slices.Contains(names, "disabled") {
		if disabled, err = next.Bool("disabled"); err != nil {
			return false, err
		}
	}
	if err := d.maySet(ctx, c.who, next, names); err != nil {
		return false, err
	}
	if err := c.askFirst(func() ([]wire.Break, error) { return d.configBreaks(ctx, c.path, next) }); err != nil {
		return false, err
	}
	if !next.Equal(o.Config) {
		if err := d.Objects.Configure(ctx, c.path, o.Revision, next); err != nil {
			return false, err
		}
	}
	c.note(slog.String("keywords", strings.Join(names, " ")))
	if disabled {
		err = d.endTokens(registry.Undecided(ctx), c, c.path)
	}
	return len(names) > 0, err
}

func (d *door) getConfigFile(ctx context.Context, c *call) (response, error) {
	o, err := d.Objects.Get(ctx, c.path)
	if err != nil {
		return response{}, err
	}
	return response{
		status: http.StatusOK, media: mediaText, body: o.Config.INI(),
		header: http.Header{"Om-Last-Modified": {o.Updated.UTC().Format("2006-01-02T15:04:05.000000Z07:00")}},
	}, nil
}

func (d *door) putConfigFile(ctx context.Context, c *call) (response, error) {
	next, err := object.ParseINI(c.path, c.body)
	if err != nil {
		return response{}, err
	}
	_, err = d.configure(ctx, c, func(old object.Config) (object.Config, []string, error) {
		changed, err := old.Replace(next)
		return next, changed, err
	})
	if err != nil {
		return response{}, err
	}
	return noContent()
}

func (d *door) postConfigFile(ctx context.Context, c *call) (response, error) {
	_, err := d.Objects.Get(ctx, c.path)
	if err == nil {
		return response{}, hint.With(fmt.Errorf("%w: %s", registry.ErrExists, c.path), "replace the config with PUT")
	}
	if !errors.Is(err, ca.ErrNotFound) {
		return response{}, err
	}
	config, err := object.ParseINI(c.path, c.body)
	if err != nil {
		return response{}, err
	}
	if err := d.makeObject(ctx, c, config, d.settle); err != nil {
		return response{}, err
	}
	return noContent()
}

func (d *door) validateConfig(ctx context.Context, c *call) (response, error) {
	o, err := d.Objects.Get(ctx, c.path)
	if err != nil {
		return response{}, err
	}
	findings := wire.Findings{Items: []wire.Finding{}}
	for _, p := range o.Config.Validate() {
		comment := p.Err.Error()
		if tip := hint.Of(p.Err); tip != "" {
			comment += "; " + tip
		}
		findings.Items = append(findings.Items, wire.Finding{Level: "error", Keyword: p.Keyword, Comment: comment})
	}
	return reply(http.StatusOK, findings)
}

func (d *door) listKeywords(_ context.Context, c *call) (response, error) {
	kind := object.Kind(c.query.Get("kind"))
	if kind == "cluster" {
		kind = object.KindCcfg
	}
	if !slices.Contains(object.Kinds(), kind) {
		return response{}, fmt.Errorf("%w: kind is %.32q, not sec, usr, cfg or cluster", errBadRequest, string(kind))
	}
	rows := object.Keywords(kind)
	if name := c.query.Get("kw"); name != "" {
		k, err := object.LookupKeyword(kind, name)
		if err != nil {
			return response{}, err
		}
		rows = []object.Keyword{k}
	}
	docs := wire.KeywordDocs{Items: []wire.KeywordDoc{}}
	for _, k := range rows {
		doc := wire.KeywordDoc{Keyword: k.Name, Type: string(k.Type), Default: k.Default, Doc: k.Doc, Example: k.Example, Aliases: []string{}}
		if k.Alias != "" {
			doc.Aliases = append(doc.Aliases, k.Alias)
		}
		docs.Items = append(docs.Items, doc)
	}
	return reply(http.StatusOK, docs)
}
