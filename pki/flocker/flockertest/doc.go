// Package flockertest makes clusters for tests as Flocker itself made them: of
// version 1 and yet with extensions, with times as GeneralizedTime before the year
// 2050, without key identifiers in the leaves. The keys are smaller, for speed.
package flockertest
