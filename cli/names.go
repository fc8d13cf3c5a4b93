package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/taskerhq/tasker/internal/x/near"
)

// rename puts the program's own name into the examples and the commands that the
// help quotes: a daemon with its own handlers has its own name.
func (r *run) rename(cmd *cobra.Command) {
	if r.Name == defaultName {
		return
	}
	cmd.Example = strings.ReplaceAll("\n"+cmd.Example, "\n  "+defaultName+" ", "\n  "+r.Name+" ")[1:]
	cmd.Example = strings.ReplaceAll(cmd.Example, "| "+defaultName+" ", "| "+r.Name+" ")
	cmd.Long = r.called(cmd.Long)
	cmd.Short = r.called(cmd.Short)
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) { f.Usage = r.called(f.Usage) })
	}
	for _, sub := range cmd.Commands() {
		r.rename(sub)
	}
}

// called puts the program's name into the commands that a text quotes.
func (r *run) called(text string) string {
	return strings.NewReplacer(`"`+defaultName+" ", `"`+r.Name+" ", `"`+defaultName+"\n", `"`+r.Name+"\n").Replace(text)
}

// nearestFlag suggests a flag in place of an unknown one.
func nearestFlag(cmd *cobra.Command, err error) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || len(unknown.GetSpecifiedName()) < 2 {
		return ""
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if name := near.Name(unknown.GetSpecifiedName(), known); name != "" {
		return "; did you mean --" + name + "?"
	}
	return ""
}
