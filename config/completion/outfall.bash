# Completion of outfall for bash. Installed where bash-completion looks for it by name.

_outfall_command() { # the word that names what to do, and for ctl the one behind it
	local word skip=
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		if [ -n "$skip" ]; then
			skip=
			continue
		fi
		case $word in
		-c | --config | -s | --socket | -b | --body | -f | --body-file | -n | --count | -H | --header | -d | --delay | --timeout | --as)
			skip=1
			;;
		-*) ;;
		*) printf '%s ' "$word" ;;
		esac
	done
}

_outfall_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}")
}

_outfall_files() {
	mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
}

_outfall() {
	local options="-c --config -h --help"
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	-c | --config | -s | --socket | -f | --body-file)
		_outfall_files
		return
		;;
	--as)
		mapfile -t COMPREPLY < <(compgen -u -- "${COMP_WORDS[COMP_CWORD]}")
		return
		;;
	-b | --body | -n | --count | -H | --header | -d | --delay | --timeout)
		return
		;;
	esac
	case $(_outfall_command) in
	"") _outfall_words "run check enqueue ctl --help --version" ;;
	"run ") _outfall_words "$options" ;;
	"check ") _outfall_words "$options --as" ;;
	"enqueue "*) _outfall_words "$options -b --body -f --body-file -n --count -H --header -d --delay" ;;
	"ctl ")
		_outfall_words "status jobs top quiet resume drain extend reload $options -s --socket --json"
		;;
	"ctl drain ") _outfall_words "--wait --timeout --dry-run --force --json" ;;
	"ctl quiet ") _outfall_words "--force --json" ;;
	"ctl "*) _outfall_words "--json" ;;
	esac
}

complete -o filenames -F _outfall outfall
