package console

// A place is an entry of the navigation.
type place struct{ Name, Section, At string }

// places are the pages that the visitor may look at. An error leaves a place out:
// the page that is shown says more than its navigation.
func (v *visit) places() []place {
	if v.who == nil {
		return nil
	}
	all := []place{{"Overview", "overview", "/"}, {"Certificates", "certificates", "/certificates"}}
	if v.who.InPerson || v.who.Root {
		all = append(all, place{"Issue", "issue", "/issue"})
	}
	if v.sees("system/usr/any") {
		all = append(all, place{"Users", "users", "/users"})
	} else if v.who.InPerson {
		all = append(all, place{"You", "users", "/users/" + v.who.Name})
	}
	all = append(all, place{"Tokens", "tokens", "/tokens"}, place{"Objects", "objects", "/objects"})
	if v.sees("root/ccfg/cluster") {
		all = append(all, place{"Cluster", "cluster", "/cluster"})
	}
	if v.who.Root {
		all = append(all, place{"Audit", "audit", "/audit"})
	}
	return all
}

// sees reports whether the visitor may read an object.
func (v *visit) sees(path string) bool {
	verdict, err := v.may("read", path)
	return err == nil && verdict.Allowed
}
