package object

import (
	"slices"
	"strings"

	"omca/internal/hint"
)

// Op is what an [Expr] does to the value of its keyword.
type Op string

// The operators. All but OpSet work on lists, word by word.
const (
	OpSet    Op = "="  // the value is this; nothing unsets the keyword
	OpAppend Op = "+=" // add the words that are not there yet
	OpRemove Op = "-=" // take the words away, wherever they are
	OpUnion  Op = "|=" // as OpAppend: the older way to write it
)

// Expr is one change to one keyword: "cn=vip.mycorp", "grant+=admin:ns1".
type Expr struct {
	Keyword string // any name that LookupKeyword takes
	Op      Op
	Value   string // without white space around it
}

const maxExpr = maxName + 2 + maxValue // bytes in an expression

// ParseExpr reads KEYWORD OPERATOR VALUE. The first operator from the left
// counts, so that a value may hold "=". Whether the keyword exists and accepts
// the value is for [Config.Apply] to say. Errors are [ca.ErrInvalid].
func ParseExpr(s string) (Expr, error) {
	if len(s) > maxExpr {
		return Expr{}, Invalidf("invalid expression %q: %d bytes, at most %d", clip(s), len(s), maxExpr)
	}
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return Expr{}, hint.With(Invalidf("invalid expression %q: no operator", clip(s)), "write KEYWORD=VALUE, or += -= |= for the words of a list")
	}
	op := OpSet
	if n := len(name) - 1; n >= 0 && strings.ContainsRune("+-|^", rune(name[n])) {
		op, name = Op(name[n:]+"="), name[:n]
	}
	name = strings.TrimSpace(name)
	if op == "^=" {
		return Expr{}, hint.With(Invalidf(`invalid expression %q: "^=" depends on what is there`, clip(s)),
			"use %q to add or %q to remove", name+"+=", name+"-=")
	}
	if err := checkName(name); err != nil {
		return Expr{}, err
	}
	return Expr{name, op, strings.TrimSpace(value)}, nil
}

// ParseExprs reads several expressions, or none if one of them is wrong.
func ParseExprs(words []string) ([]Expr, error) {
	exprs := make([]Expr, 0, len(words))
	for _, w := range words {
		e, err := ParseExpr(w)
		if err != nil {
			return nil, err
		}
		exprs = append(exprs, e)
	}
	return exprs, nil
}

// String writes the expression so that [ParseExpr] reads it back.
func (e Expr) String() string { return e.Keyword + string(e.Op) + e.Value }

// apply returns the value of k after the expression, before it is checked.
func (e Expr) apply(k Keyword, old string) (string, error) {
	if e.Op == OpSet {
		return e.Value, nil
	}
	if !k.Type.List() {
		return "", hint.With(Invalidf("keyword %q: %q works on lists, this holds one value", k.Name, e.Op), "write %q", k.Name+"="+clip(e.Value))
	}
	words, change := strings.Fields(old), strings.Fields(e.Value)
	if len(change) > maxWords {
		return "", Invalidf("keyword %q: %d words, at most %d", k.Name, len(change), maxWords)
	}
	switch e.Op {
	case OpAppend, OpUnion:
		for _, w := range change {
			if !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
	case OpRemove:
		words = slices.DeleteFunc(words, func(w string) bool { return slices.Contains(change, w) })
	default:
		return "", Invalidf("keyword %q: unknown operator %q", k.Name, e.Op)
	}
	return strings.Join(words, " "), nil
}
