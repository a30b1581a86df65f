package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

// maxValues bounds the values of one answer together, in bytes.
const maxValues = 16 << 20

// newValue is what an edit gives the key.
func newValue(e wire.KeyEdit) ([]byte, error) {
	if e.String == nil {
		return e.Bytes, nil
	}
	if e.Bytes != nil {
		return nil, fmt.Errorf("%w: key %.64q has both bytes and a string", errBadRequest, e.Name)
	}
	return []byte(*e.String), nil
}

// keyName is the parameter name, which has to be there.
func keyName(c *call) (string, error) {
	name := c.query.Get("name")
	if name == "" {
		return "", fmt.Errorf("%w: parameter name is missing", errBadRequest)
	}
	c.note(slog.String("key", name))
	return name, nil
}

func (d *door) listKeys(ctx context.Context, c *call) (response, error) {
	o, err := d.Objects.Get(ctx, c.path)
	if err != nil {
		return response{}, err
	}
	list := wire.DataKeyList{Kind: "DataKeyList", Items: []wire.DataKey{}}
	for _, k := range o.Keys {
		list.Items = append(list.Items, wire.DataKey{Object: c.path.String(), Name: k.Name, Size: k.Size})
	}
	return reply(http.StatusOK, list)
}

// getData gives the values of the keys named, or of all that the caller may read.
func (d *door) getData(ctx context.Context, c *call) (response, error) {
	names := c.list("name")
	if len(names) == 0 {
		o, err := d.Objects.Get(ctx, c.path)
		if err != nil {
			return response{}, err
		}
		for _, k := range o.Keys {
			err := d.mayReadKey(ctx, c.who, c.path, k.Name)
			if err == nil {
				names = append(names, k.Name)
			} else if !errors.Is(err, usr.ErrDenied) {
				return response{}, err
			}
		}
	}
	c.note(slog.String("keys", strings.Join(names, " ")))
	values := []wire.KeyValue{}
	size := 0
	for _, name := range names {
		v, err := d.value(ctx, c, name)
		if err != nil {
			return response{}, err
		}
		if size += len(v); size > maxValues {
			return response{}, fmt.Errorf("%w: the values have more than %d bytes: name fewer keys", errBadRequest, maxValues)
		}
		values = append(values, wire.KeyValue{Name: name, Bytes: append([]byte{}, v...)})
	}
	return reply(http.StatusOK, values)
}

func (d *door) getKey(ctx context.Context, c *call) (response, error) {
	name, err := keyName(c)
	if err != nil {
		return response{}, err
	}
	v, err := d.value(ctx, c, name)
	if err != nil {
		return response{}, err
	}
	media := mediaAny
	if utf8.Valid(v) {
		media = mediaText
	}
	return response{status: http.StatusOK, media: media, body: v}, nil
}

// value reads one key that the rule of the route said the caller may read.
func (d *door) value(ctx context.Context, c *call, name string) ([]byte, error) {
	switch {
	case c.path.Kind.Sealed() && name == ca.KeyRequest:
		return d.requestFor(ctx, c)
	case c.path.Kind.Sealed() && name == ca.KeyFullPEM:
		key, err := d.Objects.Value(ctx, c.path, ca.KeyPrivate)
		if err != nil {
			return nil, err
		}
		chain, err := d.Objects.Value(ctx, c.path, ca.KeyChain)
		if err != nil {
			return nil, err
		}
		return append(append([]byte{}, key...), chain...), nil
	}
	return d.Objects.Value(ctx, c.path, name)
}

// requestFor computes the signing request. Where there is no private key yet
// one is made, and that is a change.
func (d *door) requestFor(ctx context.Context, c *call) ([]byte, error) {
	o, err := d.Objects.Get(ctx, c.path)
	if err != nil {
		return nil, err
	}
	var text []byte
	request := func(ctx context.Context) error {
		if err := d.certifiable(c.path); err != nil {
			return err
		}
		text, err = d.Authority.SigningRequest(ctx, c.who, c.path.String())
		return err
	}
	if slices.ContainsFunc(o.Keys, func(k registry.KeyInfo) bool { return k.Name == ca.KeyPrivate }) {
		err = request(ctx)
		return text, err
	}
	if err := changing(c.request); err != nil {
		return nil, err
	}
	err = d.decided(ctx, c, func(ctx context.Context) error {
		if err := d.mayChange(ctx, c.who, c.path); err != nil {
			return err
		}
		return request(ctx)
	})
	return text, err
}

func (d *door) addKey(ctx context.Context, c *call) (response, error) {
	return d.writeKey(ctx, c, registry.Add)
}

func (d *door) changeKey(ctx context.Context, c *call) (response, error) {
	return d.writeKey(ctx, c, registry.Change)
}

func (d *door) writeKey(ctx context.Context, c *call, action registry.Action) (response, error) {
	name, err := keyName(c)
	if err != nil {
		return response{}, err
	}
	var form passwordForm
	if form.hashed, err = c.flag("hashed"); err == nil {
		form.weak, err = c.flag("weak")
	}
	if err != nil {
		return response{}, err
	}
	edit := registry.Edit{Action: action, Name: name, Value: c.body}
	if err := d.edit(ctx, c, []registry.Edit{edit}, form); err != nil {
		return response{}, err
	}
	return noContent()
}

func (d *door) removeKey(ctx context.Context, c *call) (response, error) {
	name, err := keyName(c)
	if err != nil {
		return response{}, err
	}
	if err := d.edit(ctx, c, []registry.Edit{{Action: registry.Remove, Name: name}}, passwordForm{}); err != nil {
		return response{}, err
	}
	return noContent()
}

func (d *door) patchData(ctx context.Context, c *call) (response, error) {
	steps, err := decode[[]wire.KeyEdit](c)
	if err != nil {
		return response{}, err
	}
	if len(steps) == 0 {
		return response{}, fmt.Errorf("%w: no step to take", errBadRequest)
	}
	var edits []registry.Edit
	var names []string
	var forms []passwordForm
	locked := 0
	for _, s := range steps {
		value, err := newValue(s)
		if err == nil && s.Password != "" {
			if locked++; locked > 1 {
				return response{}, fmt.Errorf("%w: %d steps have a password: one encrypted key at a time", errBadRequest, locked)
			}
			value, err = d.openOnce(ctx, c, s, value)
		}
		if err != nil {
			return response{}, err
		}
		edits = append(edits, registry.Edit{Action: registry.Action(s.Action), Name: s.Name, Value: value, To: s.To})
		names = append(names, s.Name)
		forms = append(forms, passwordForm{s.Hashed, s.Weak})
	}
	c.note(slog.String("keys", strings.Join(names, " ")))
	if err := d.edit(ctx, c, edits, forms...); err != nil {
		return response{}, err
	}
	return noContent()
}

// edit changes keys, all or none. A part of a certificate set goes to ca, which
// looks whether it fits; it comes alone. forms say of each edit what its value
// is, where that is the password of a user.
func (d *door) edit(ctx context.Context, c *call, edits []registry.Edit, forms ...passwordForm) error {
	for _, e := range edits {
		if err := d.mayEdit(ctx, c, e); err != nil {
			return err
		}
	}
	if err := d.keepsItsSet(ctx, c.path, edits); err != nil {
		return err
	}
	if err := c.askFirst(func() ([]wire.Break, error) { return d.editBreaks(ctx, c.path, edits) }); err != nil {
		return err
	}
	if err := d.hashPasswords(ctx, c, edits, forms); err != nil {
		return err
	}
	if slices.ContainsFunc(edits, func(e registry.Edit) bool { return importing(c.path, e) }) {
		if len(edits) > 1 {
			return fmt.Errorf("%w: private_key, certificate and certificate_chain are imported one at a time, in any order", errBadRequest)
		}
		if d.holdsTokenKey(c.path) {
			return d.importTokenKey(ctx, c, edits[0])
		}
		return d.importPart(ctx, c, edits[0])
	}
	return d.Objects.Edit(ctx, c.path, edits)
}

// keepsItsSet refuses to take away a part of the certificate set that the
// cluster signs with or that the listener presents.
func (d *door) keepsItsSet(ctx context.Context, p object.Path, edits []registry.Edit) error {
	taken := slices.IndexFunc(edits, func(e registry.Edit) bool { return e.Action == registry.Remove && ca.Imports(e.Name) })
	if taken < 0 {
		return nil
	}
	use, err := d.inUse(ctx, p)
	if err != nil {
		return err
	}
	if use == "" {
		return d.unbound(ctx, p)
	}
	return hint.With(fmt.Errorf("%w: %s is %s: its %s cannot be removed", ca.ErrConflict, p, use, edits[taken].Name),
		"replace it with \"omca %s key change --name %s --from FILE\"", p, edits[taken].Name)
}

// importPart brings one part of a certificate set, and says what came of it.
func (d *door) importPart(ctx context.Context, c *call, e registry.Edit) error {
	if len(e.Value) > registry.MaxKeySize {
		return fmt.Errorf("%w: %s: %d bytes, at most %d", errTooLarge, e.Name, len(e.Value), registry.MaxKeySize)
	}
	if e.Name == ca.KeyPrivate && pki.KeyEncrypted(e.Value) {
		return hint.With(fmt.Errorf("%w: %s: %s is encrypted, and no password was given", errBadRequest, c.path, e.Name),
			"name the file with its password: --password-file FILE")
	}
	if err := d.noteReign(ctx, c); err != nil {
		return err
	}
	imported, err := d.Authority.Import(ctx, c.who, c.path.String(), e.Name, e.Value)
	if err != nil {
		return err
	}
	if !imported.Live {
		c.notice("%s: %s is pending: %s", c.path, e.Name, strings.Join(imported.Pending, "; "))
		return nil
	}
	return d.tellOrphans(ctx, c)
}

// openOnce is decrypted for the one step of the call that has a password, once,
// however often the call is decided. It costs time, so the caller must have the right
// to that step, and the object must be there, before.
func (d *door) openOnce(ctx context.Context, c *call, s wire.KeyEdit, value []byte) ([]byte, error) {
	if c.opened != nil {
		return c.opened, nil
	}
	if err := d.mayEdit(ctx, c, registry.Edit{Action: registry.Action(s.Action), Name: s.Name, Value: value, To: s.To}); err != nil {
		return nil, err
	}
	if _, err := d.Objects.Get(ctx, c.path); err != nil {
		return nil, err
	}
	var err error
	c.opened, err = d.decrypted(ctx, s.Name, value, s.Password)
	return c.opened, err
}

// decrypted returns a private key without the password that it came under: what
// is kept is sealed by the store, and a password beside it would not keep it
// better. The password is in the body of the request, which is never logged.
func (d *door) decrypted(ctx context.Context, name string, value []byte, password string) ([]byte, error) {
	if name != ca.KeyPrivate {
		return nil, fmt.Errorf("%w: key %.64q has a password: only %s can be encrypted", errBadRequest, name, ca.KeyPrivate)
	}
	if !pki.KeyEncrypted(value) {
		return value, nil // the password is of no use, and what is wrong with the value is said where it is imported
	}
	leave, err := d.decrypting.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	key, err := pki.ParsePrivateKey(value, []byte(password))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return pki.EncodePrivateKey(key)
}

// importing reports whether the step brings a part of a certificate set.
func importing(p object.Path, e registry.Edit) bool {
	return p.Kind.Sealed() && ca.Imports(e.Name) && (e.Action == registry.Add || e.Action == registry.Change)
}

// mayEdit refuses the steps that are not for hands, and those that would give
// away what the caller may not read.
func (d *door) mayEdit(ctx context.Context, c *call, e registry.Edit) error {
	switch e.Action {
	case registry.Add, registry.Change, registry.Remove, registry.Rename:
	default:
		return fmt.Errorf("%w: action %.32q is none of add, change, remove and rename", errBadRequest, string(e.Action))
	}
	if !c.path.Kind.Sealed() {
		return nil
	}
	if c.path == object.JWTPath() {
		return hint.With(fmt.Errorf("%w: the keys of %s are made here, and changed by no hand", errBadRequest, c.path), "\"omca token rotate-key\" makes a new one")
	}
	if e.Action == registry.Rename {
		if err := d.mayReadKey(ctx, c.who, c.path, e.Name); err != nil {
			return err
		}
		for _, name := range []string{e.Name, e.To} {
			if isPassword(c.path, name) {
				return hint.With(fmt.Errorf("%w: key %q is kept as a hash and cannot be renamed, nor take the place of another key", errBadRequest, name),
					"\"omca %s key change --name password --from FILE\" sets it", c.path)
			}
			if ca.Imports(name) {
				return fmt.Errorf("%w: key %q is part of a certificate set and cannot be renamed", errBadRequest, name)
			}
		}
		if err := writable(c.path, e.To); err != nil {
			return err
		}
	}
	if e.Action != registry.Remove {
		return writable(c.path, e.Name)
	}
	return nil
}

// writable refuses the keys that are computed.
func writable(p object.Path, name string) error {
	switch {
	case name == ca.KeyRequest, name == ca.KeyFullPEM:
		return fmt.Errorf("%w: key %q is computed and cannot be written", errBadRequest, name)
	case name == ca.KeySerial:
		return hint.With(fmt.Errorf("%w: key %q belongs to the certificate and cannot be written", errBadRequest, name),
			"\"omca %s certificate create\" makes a new one", p)
	}
	return nil
}
