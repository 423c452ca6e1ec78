# What the figures of mined attention share. Lines of heads are thin and pale, the mean over heads is black, with its
# 95 % interval over sequences.
load 'style.gp'
head_pale(i) = '#70'.substr(head_colour(i), 2, 7)
style_mean = '#000000'

# Rows of a curve: of heads of class i, of the mean over all heads.
is(c) = strcol('curve') eq c
of(c, i) = is(c) && strcol('class') eq word(head_classes, i)
head_x(c, i) = of(c, i) ? column('x') : NaN
mean_x(c) = is(c) && strcol('class') eq 'all' ? column('x') : NaN
# On a log axis: nothing where a mean is 0; an interval that reaches 0 goes on below the panel.
share(y) = y > 0 ? y : NaN
low(c) = column(c) > 0 ? column(c) : 1e-30

# One pass over the rows: the title, and how many heads of each class there are. Each head has one row of curve c without
# an x.
title_text = ''
array heads_of[4] = [0, 0, 0, 0]
place(list, w) = strstrt(' '.list.' ', ' '.w.' ') ? words(substr(' '.list, 1, strstrt(' '.list.' ', ' '.w.' '))) + 1 : 0
count_head(i) = i > 0 ? (heads_of[i] = heads_of[i] + 1, 0) : 0
note(c) = (title_text = strcol('title'), is(c) && !(column('x') == column('x')) ? count_head(place(head_classes, strcol('class'))) : 0)

# Commands for eval. They hold names of variables, never a text from the database. Panels of a row of n; a strip below
# them is the legend's.
height = 440
headroom = 46 # pixels above a panel: 66 where it has a title
open(t, name) = (t eq 'svg' ? sprintf('set terminal svg size 1000,%d', height) \
    : sprintf('set terminal pngcairo size 2000,%d fontscale 1.65 linewidth 2 dashlength 1.5 pointscale 2', 2 * height)) \
    ." font 'DejaVu Sans,12' background '#ffffff' noenhanced; set output '".name.'.'.t."'; " \
    ."load 'style.gp'; set format; set xtics nomirror auto; set ytics nomirror auto; set multiplot; set label 99 title_text at screen 0.5, screen 1 - 20.0 / height center font ',13' noenhanced; unset key"
panel(n, k) = sprintf('set lmargin at screen %.4f; set rmargin at screen %.4f; ', 0.082 + (k - 1) * 0.5, n == 1 ? 0.975 : 0.482 + (k - 1) * 0.493) \
    .'set tmargin at screen 1 - real(headroom) / height; set bmargin at screen 92.0 / height'
heads_legend = "for [i = 1:4] NaN with lines lw 2 lc rgb head_colour(i) title (heads_of[i] ? sprintf('%s heads (%d)', word(head_classes, i), heads_of[i]) : '')"
mean_legend = "NaN with linespoints lw 1.8 pt 7 ps 0.5 lc rgb style_mean title 'mean over heads, 95 %'"
# Pixels of the strip, rows of entries: the legend's, before it.
strip_height = 36; strip_rows = 1
strip(h, rows) = sprintf('strip_height = %d; strip_rows = %d', h, rows)
legend(entries) = 'set lmargin at screen 0; set rmargin at screen 1; set tmargin at screen real(strip_height) / height; set bmargin at screen 4.0 / height; ' \
    .'unset border; unset tics; unset xlabel; unset ylabel; unset title; unset logscale; unset grid; unset label; unset arrow; set xrange [0:1]; ' \
    ."set yrange [0:1]; set key at screen 0.5, screen (strip_height + 4) / 2.0 / height center center horizontal Left reverse maxrows strip_rows samplen 2 width -1 font ',10'; plot ".entries
close = 'unset multiplot; unset output; unset label; unset title'
