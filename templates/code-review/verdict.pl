#!/usr/bin/env perl
# Says whether a person should look before this change goes on: "escalate" when anything is high, else "clear". Leaves
# verdict.md with the reasons.

use strict;
use warnings;
use lib __FILE__ =~ m{\A(.*)/}s ? $1 : '.';
use Findings;
use Json;
use Report;

my ($findings, undef, $survey) = Findings::gather();
my @high = grep { $_->{severity} eq 'high' } @$findings;
my $verdict = @high ? 'escalate' : 'clear';

my $note = "# Verdict: $verdict\n\n";
$note .= @high
    ? 'A person should look before this goes on. ' . (@high == 1 ? 'One finding is' : @high . ' findings are') . " of severity high:\n\n"
    : "No finding is of severity high.\n";
my $shown = 0;
for my $found (@high) {
    if (++$shown > 50) { $note .= '- and ' . (@high - 50) . " more\n"; last }
    $note .= "- $found->{rule} in " . Report::code("$found->{path}:$found->{line}") . ': ' . Report::prose($found->{message}) . "\n";
}
Report::artifact('verdict.md', $note);
Report::artifact('verdict.json', Json::encode({verdict => $verdict, high => Json::num(scalar @high), head => $survey->{head}}) . "\n");
Report::output({verdict => $verdict, high => Json::num(scalar @high)});
Report::say_line("verdict: $verdict" . (@high ? ' (' . @high . ' high)' : ''));
